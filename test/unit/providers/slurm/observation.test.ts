import { describe, expect, test } from 'vitest';
import { jobsIn, type SlurmJob } from '../../../../providers/slurm/job-record.ts';
import { type Facts, sightOf, theOne } from '../../../../providers/slurm/observation.ts';
import { commentOf, handleOf, type Owner } from '../../../../providers/slurm/ownership.ts';
import { exitIn } from '../../../../providers/slurm/run-folder.ts';

const OWNER: Owner = { uid: 'u', tag: 't', bookingId: 'b', attempt: '1', content: 'c' };
const HANDLE = handleOf('m-b-1', OWNER);
/** As slurmrestd 22.05 tells it, of what is looked at. */
const TOLD = {
  job_id: 7,
  name: 'm-b-1',
  user_name: 'merit',
  comment: commentOf(OWNER),
  job_state: 'RUNNING',
  state_reason: 'None',
  state_description: '',
  start_time: 100,
  end_time: 200,
  exit_code: 0,
  time_limit: 15,
  restart_cnt: 0,
  nodes: 'n1',
};
const NOTHING: Facts = { claim: undefined, exit: undefined, hasNotice: false, end: undefined, seen: undefined };
const CLAIMED: Facts = { ...NOTHING, claim: { by: 'job', job: 7 } };
const EXITED = (code: number, before: 'nothing' | 'told' | 'lost' = 'nothing'): Facts => ({
  ...CLAIMED,
  exit: { job: 7, code, before, startedAtMs: 100_000, endedAtMs: 150_000 },
});

const SEEN = { firstMs: 90_000, lastMs: 900_000 };

const jobOf = (fields: object): SlurmJob => jobsIn({ jobs: [{ ...TOLD, ...fields }] })[0]!;
function seen(fields: object | undefined, facts: Facts) {
  const sight = sightOf(HANDLE, fields === undefined ? undefined : jobOf(fields), facts);
  return sight.is === 'told' ? sight.observation : { state: 'ended', ...sight.end, message: sight.slurm };
}

describe('a job of Slurm', () => {
  test.each([
    ['COMPLETED', 0, EXITED(0), 'succeeded', 0],
    ['FAILED', 3 << 8, EXITED(3), 'failed', 3],
    ['FAILED', 3 << 8, CLAIMED, 'failed', 3],
    ['FAILED', 9, CLAIMED, 'failed', 137],
    ['OUT_OF_MEMORY', 0x7d00, CLAIMED, 'failed', 125],
    ['COMPLETED', 0, NOTHING, 'preempted', undefined],
    ['FAILED', 3 << 8, NOTHING, 'failed', undefined],
    ['CANCELLED', 15, CLAIMED, 'stopped', undefined],
    ['CANCELLED', 0, NOTHING, 'preempted', undefined],
    ['CANCELLED', 0, { ...NOTHING, claim: { by: 'release' as const } }, 'stopped', undefined],
    ['TIMEOUT', 0, CLAIMED, 'stopped', undefined],
    ['DEADLINE', 0, CLAIMED, 'stopped', undefined],
    ['NODE_FAIL', 0, CLAIMED, 'preempted', undefined],
    ['NODE_FAIL', 0, EXITED(0), 'succeeded', 0],
    ['NODE_FAIL', 0, EXITED(1), 'preempted', undefined],
    ['BOOT_FAIL', 0, NOTHING, 'preempted', undefined],
    ['PREEMPTED', 0, EXITED(143, 'told'), 'preempted', undefined],
    ['PREEMPTED', 0, EXITED(0, 'told'), 'preempted', undefined],
    ['CANCELLED', 0, EXITED(0), 'succeeded', 0],
    ['CANCELLED', 0, EXITED(0, 'told'), 'stopped', undefined],
    ['CANCELLED', 0, EXITED(1, 'lost'), 'preempted', undefined],
    ['FAILED', 1 << 8, EXITED(1, 'lost'), 'preempted', undefined],
    ['REVOKED', 0, NOTHING, 'preempted', undefined],
    ['FAILED', 3 << 8, EXITED(0), 'failed', 3],
    ['FAILED', 75 << 8, EXITED(0), 'succeeded', 0],
    ['FAILED', 75 << 8, EXITED(3), 'failed', 3],
    ['FAILED', 75 << 8, EXITED(75), 'failed', 75],
    ['FAILED', 75 << 8, CLAIMED, 'preempted', undefined],
    ['OUT_OF_MEMORY', 9, EXITED(0), 'failed', 137],
    ['TIMEOUT', 0, EXITED(0), 'stopped', undefined],
    ['DEADLINE', 0, EXITED(0), 'stopped', undefined],
    ['COMPLETED', 0, EXITED(4), 'failed', 4],
    ['COMPLETED', 0, { ...EXITED(0), hasNotice: true }, 'stopped', undefined],
    ['FAILED', 1 << 8, { ...EXITED(1), hasNotice: true }, 'stopped', undefined],
  ])('that is %s (%s) is told by its end', (state, status, facts, outcome, exitCode) => {
    expect(seen({ job_state: state, exit_code: status }, facts)).toMatchObject({ state: 'ended', outcome, exitCode });
  });

  test.each(['RUNNING', 'COMPLETING', 'SUSPENDED', 'STAGE_OUT'])(
    'that is %s runs, though its command may have ended',
    (state) => {
      expect(seen({ job_state: state }, EXITED(0))).toEqual({ state: 'running', handle: HANDLE, startedAtMs: 100_000 });
    },
  );

  test('is billed by Slurm’s times, whatever it wrote down itself', () => {
    const exit = { job: 7, code: 0, before: 'nothing', startedAtMs: 1_000, endedAtMs: 2_000 } as const;
    const forged = { ...CLAIMED, exit };
    for (const job_state of ['COMPLETED', 'CANCELLED', 'NODE_FAIL', 'FAILED'])
      expect(seen({ job_state }, forged)).toMatchObject({ startedAtMs: 100_000, endedAtMs: 200_000 });
    expect(seen({ job_state: 'RUNNING' }, forged)).toMatchObject({ startedAtMs: 100_000 });
    const held = { job_state: 'PENDING', restart_cnt: 1 };
    expect(seen(held, { ...forged, seen: SEEN })).toMatchObject({ endedAtMs: SEEN.lastMs });
  });

  test('that is cancelled before it has nodes was stopped', () => {
    expect(seen({ job_state: 'CANCELLED', nodes: '' }, NOTHING)).toMatchObject({ outcome: 'stopped' });
  });

  test('that waits tells why, in Slurm’s words', () => {
    expect(seen({ job_state: 'PENDING', state_reason: 'PartitionDown' }, NOTHING)).toMatchObject({
      state: 'pending',
      message: 'PartitionDown',
    });
    expect(seen({ job_state: 'CONFIGURING' }, NOTHING)).toMatchObject({ message: 'CONFIGURING None' });
  });

  test('that was asked for before it began is no other job than the one that claimed meanwhile', () => {
    expect(seen({ job_state: 'PENDING' }, CLAIMED)).toMatchObject({ state: 'pending' });
  });

  test('that Slurm ran again, against the request, was taken back: the attempt runs once', () => {
    expect(seen({ job_state: 'PENDING', restart_cnt: 1 }, CLAIMED)).toMatchObject({ outcome: 'preempted' });
    expect(seen({ job_state: 'FAILED', exit_code: 75 << 8, restart_cnt: 1 }, CLAIMED)).toMatchObject({
      outcome: 'preempted',
    });
    expect(seen({ job_state: 'PENDING', state_description: 'launch failed requeued held' }, NOTHING)).toMatchObject({
      outcome: 'failed',
      message: 'None launch failed requeued held',
    });
  });

  test('in a state that has a name never seen before is told as that', () => {
    expect(seen({ job_state: 'HIBERNATING' }, CLAIMED)).toEqual({
      state: 'unknown-status',
      handle: HANDLE,
      word: 'HIBERNATING',
    });
  });
});

describe('an attempt that slurmctld has forgotten', () => {
  test('is told by what its job wrote down, or by what was told of it before', () => {
    expect(seen(undefined, EXITED(0))).toMatchObject({ outcome: 'succeeded', exitCode: 0, endedAtMs: 150_000 });
    expect(seen(undefined, EXITED(3))).toMatchObject({ outcome: 'failed', exitCode: 3 });
    expect(seen(undefined, EXITED(0, 'told'))).toMatchObject({ outcome: 'preempted' });
    expect(seen(undefined, { ...EXITED(0), hasNotice: true })).toMatchObject({ outcome: 'stopped' });
    expect(seen(undefined, { ...NOTHING, claim: { by: 'release' } })).toMatchObject({ outcome: 'stopped' });
    const end = {
      outcome: 'preempted',
      exitCode: undefined,
      message: 'NODE_FAIL',
      startedAtMs: 1,
      endedAtMs: 2,
    } as const;
    expect(seen({ job_state: 'COMPLETED' }, { ...EXITED(0), end })).toMatchObject({ state: 'ended', ...end });
  });

  test('ran at least from when it was seen to run until it was last', () => {
    const late = { ...EXITED(0), seen: { firstMs: 110_000, lastMs: 149_000 } };
    expect(seen(undefined, late)).toMatchObject({ startedAtMs: 100_000, endedAtMs: 150_000 });
    expect(seen(undefined, { ...EXITED(0), seen: SEEN })).toMatchObject({ startedAtMs: 90_000, endedAtMs: 900_000 });
  });

  test('and that wrote nothing down is absent, which concludes nothing', () => {
    expect(seen(undefined, CLAIMED)).toEqual({ state: 'absent' });
    expect(seen(undefined, NOTHING)).toEqual({ state: 'absent' });
  });
});

test('of several jobs of an attempt the one that claimed it counts, whether Slurm still knows it or not', () => {
  const [dead, waits] = [
    jobOf({ job_id: 7, job_state: 'FAILED', exit_code: 75 << 8 }),
    jobOf({ job_id: 8, job_state: 'PENDING' }),
  ];
  expect(theOne([dead, waits], undefined)?.id).toBe(8);
  expect(theOne([dead, waits], { by: 'job', job: 7 })?.id).toBe(7);
  expect(theOne([dead, waits], { by: 'job', job: 6 })).toBeUndefined();
  expect(theOne([dead], { by: 'release' })?.id).toBe(7);
  // A claim that names another one hides nothing that runs, or did.
  for (const job_state of ['RUNNING', 'FAILED', 'TIMEOUT'])
    expect(theOne([jobOf({ job_id: 7, job_state })], { by: 'job', job: 6 })?.id).toBe(7);
});

test('a job of somebody else, and a reply that is none, are known', () => {
  expect(jobOf({ comment: 'hello' }).owner).toBeUndefined();
  expect(jobOf({ comment: 'merit {"uid":"u"}' }).owner).toBeUndefined();
  expect(jobOf({ comment: null }).owner).toBeUndefined();
  for (const body of [{}, { jobs: {} }, { jobs: [{ job_id: 7 }] }, { jobs: [null] }])
    expect(() => jobsIn(body)).toThrow(expect.objectContaining({ code: 'transient' }));
});

test('what a job wrote down tells its CPU time, where the shell told it', () => {
  const text = '12\n3\nnothing\n100\n160\n0m0.010000s 0m0.020000s\n1m2.340000s 0m0.100000s\n';
  expect(exitIn(text)).toEqual({
    job: 12,
    code: 3,
    before: 'nothing',
    startedAtMs: 100_000,
    endedAtMs: 160_000,
    cpuMs: 62_440,
  });
  expect(exitIn('12\n3\ntold\n100\n160\n')).toEqual({
    job: 12,
    code: 3,
    before: 'told',
    startedAtMs: 100_000,
    endedAtMs: 160_000,
  });
  expect(exitIn('')).toBeUndefined();
});
