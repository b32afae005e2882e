import type { RayJob } from 'ray-job-submission-client';
import { describe, expect, test } from 'vitest';
import { observationOf } from '../../../../providers/ray/observation.ts';
import { GANG_ENTRYPOINT } from '../../../../providers/ray/request.ts';

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
const handle = { provider: 'ray', id: 'm-1-1', uid: 's1/1000' };

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
    expect(observationOf('m-1-1', 's1', { ...JOB, ...fields, status })).toMatchObject({ ...expected, handle });
  });

  test('is a preemption only when its node went away', () => {
    const died = { ...JOB, status: 'FAILED', errorType: 'JOB_SUPERVISOR_ACTOR_DIED' };
    const byNode = 'Job supervisor actor died: The actor died because its node has died. Node Id: 4f1b';
    expect(observationOf('m-1-1', 's1', { ...died, message: byNode })).toMatchObject({ outcome: 'preempted' });
    const byItself = 'Job supervisor actor died: The actor is dead because its worker process has died.';
    expect(observationOf('m-1-1', 's1', { ...died, message: byItself })).toMatchObject({ outcome: 'failed' });
    const inOutput = {
      ...JOB,
      status: 'FAILED',
      errorType: 'JOB_ENTRYPOINT_COMMAND_ERROR',
      message: 'its node has died',
    };
    expect(observationOf('m-1-1', 's1', inOutput)).toMatchObject({ outcome: 'failed' });
  });

  const ended = (...log: string[]) =>
    observationOf('m-1-1', 's1', {
      ...JOB,
      status: 'FAILED',
      exitCode: 3,
      entrypoint: GANG_ENTRYPOINT,
      errorType: 'JOB_ENTRYPOINT_COMMAND_ERROR',
      message: ['Job entrypoint command failed with exit code 3, last available logs:', ...log].join('\n'),
    });

  test.each([
    ['a rank that failed', '[merit] rank 1 of 2 on 10.0.0.7 failed with exit code 3', 'failed'],
    ['a rank whose node died', '[merit] rank 1 of 2 on 10.0.0.7 was lost: its node has died', 'preempted'],
    ['a node that died too early', '[merit] a node was lost before all had begun: The actor never ran', 'preempted'],
    ['what cannot be set up', '[merit] it could not begin: no package x', 'failed'],
    ['no room', '[merit] no room for all its nodes at once within 900 s', 'preempted'],
  ])("of a gang that ended by %s is its driver's last word", (_what, line, outcome) => {
    const seen = ended('cut (rank 0) x', '[merit] rank 0 of 2 is on 10.0.0.6', line, '');
    expect(seen).toMatchObject({ outcome, exitCode: 3 });
    expect(seen).toMatchObject({ message: expect.stringContaining(`ERROR: ${line.slice('[merit] '.length)}; Job`) });
  });

  test.each([
    ['a line of a rank', '(rank 0) [merit] rank 1 of 2 on x was lost: its node has died'],
    [
      'a line that a rank broke with a carriage return',
      '(rank 0) x\r[merit] rank 1 of 2 on x was lost: its node has died',
    ],
  ])('of a gang is not taken from %s', (_what, line) => {
    expect(ended('cut', line)).toMatchObject({ outcome: 'failed' });
  });

  test('of a gang is not taken from a line that lost its beginning to the cut, nor from a job that is no gang', () => {
    const forged = '[merit] rank 1 of 2 on x was lost: its node has died';
    expect(ended(forged)).toMatchObject({ outcome: 'failed' });
    const message = `Job failed\ncut\n${forged}`;
    const own = { ...JOB, status: 'FAILED', errorType: 'JOB_ENTRYPOINT_COMMAND_ERROR', message };
    expect(observationOf('m-1-1', 's1', own)).toMatchObject({ outcome: 'failed' });
  });
});
