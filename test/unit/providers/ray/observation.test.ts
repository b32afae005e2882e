import type { RayJob } from 'ray-job-submission-client';
import { describe, expect, test } from 'vitest';
import { observationOf } from '../../../../providers/ray/observation.ts';

const JOB: RayJob = {
  type: 'SUBMISSION',
  submissionId: 'm-1-1',
  jobId: undefined,
  status: 'RUNNING',
  entrypoint: 'true',
  message: 'text',
  errorType: undefined,
  submittedAtMs: 1000,
  endedAtMs: undefined,
  metadata: {},
  exitCode: undefined,
  nodeId: undefined,
};
const handle = { provider: 'ray', id: 'm-1-1', uid: '1000' };

describe('what Ray says of a job', () => {
  test.each([
    ['PENDING', {}, { state: 'pending', message: 'text' }],
    ['RUNNING', {}, { state: 'running', startedAtMs: undefined }],
    ['SUCCEEDED', { exitCode: 0, endedAtMs: 9 }, { state: 'ended', outcome: 'succeeded', exitCode: 0, endedAtMs: 9 }],
    ['STOPPED', {}, { state: 'ended', outcome: 'stopped' }],
    ['FAILED', { exitCode: 3 }, { state: 'ended', outcome: 'failed', exitCode: 3 }],
    ['PAUSED', {}, { state: 'unknown-status', word: 'PAUSED' }],
    ['running', {}, { state: 'unknown-status', word: 'running' }],
    [`\u001b[1m${'X'.repeat(9999)}`, {}, { state: 'unknown-status', word: 'X'.repeat(64) }],
  ])('as %s is told to Merit', (status, fields, expected) => {
    expect(observationOf('m-1-1', { ...JOB, ...fields, status })).toMatchObject({ ...expected, handle });
  });

  test('is a preemption only when its node went away', () => {
    const died = { ...JOB, status: 'FAILED', errorType: 'JOB_SUPERVISOR_ACTOR_DIED' };
    const byNode = 'Job supervisor actor died: The actor died because its node has died. Node Id: 4f1b';
    expect(observationOf('m-1-1', { ...died, message: byNode })).toMatchObject({ outcome: 'preempted' });
    const byItself = 'Job supervisor actor died: The actor is dead because its worker process has died.';
    expect(observationOf('m-1-1', { ...died, message: byItself })).toMatchObject({ outcome: 'failed' });
    const inOutput = {
      ...JOB,
      status: 'FAILED',
      errorType: 'JOB_ENTRYPOINT_COMMAND_ERROR',
      message: 'its node has died',
    };
    expect(observationOf('m-1-1', inOutput)).toMatchObject({ outcome: 'failed' });
  });
});
