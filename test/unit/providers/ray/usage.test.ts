import { RayJobError, type RayWorker } from 'ray-job-submission-client';
import { beforeEach, describe, expect, test } from 'vitest';
import { GANG_ENTRYPOINT } from '../../../../providers/ray/request.ts';
import { RayUsage } from '../../../../providers/ray/usage.ts';
import { workersOfReply } from '../../../../providers/ray-job-submission-client/src/node-workers.ts';

const { signal } = new AbortController();
const KEY = 'm-b1-1';

/** As Ray 2.60 answers, cut to what is read of it; the words that it fills a command line up with among it. */
const process = (pid: number, jobId: string, user: number, rss: number, gpu = [0, 0]) => ({
  pid,
  createTime: 1795697145.98,
  cpuPercent: 1.2,
  cpuTimes: { user, system: 0.5, childrenUser: 0, childrenSystem: 0.25 },
  cmdline: ['ray::burn', '', ''],
  memoryInfo: { rss, vms: 1650606080.0, pfaults: null },
  gpuUtilization: gpu[0]!,
  gpuMemoryUsage: gpu[1]!,
  jobId,
});
const workersOf = (...workers: readonly object[]): readonly RayWorker[] => {
  const told = workersOfReply({ result: true, data: { detail: { workers } } } as never);
  if (typeof told === 'string') throw new Error(told);
  return told;
};

describe('what a job uses on Ray', () => {
  let job: object | undefined;
  let onNode: Record<string, readonly RayWorker[]>;
  let nowMs: number;
  let asked: string[];
  let usage: RayUsage;
  beforeEach(() => {
    job = { status: 'RUNNING', jobId: '02000000', entrypoint: 'python train.py' };
    onNode = {
      n1: workersOf(
        process(7, '02000000', 1, 1_000),
        process(8, '01000000', 90, 90_000),
        process(9, 'ffff', 90, 90_000),
      ),
      n2: workersOf(process(7, '02000000', 3, 2_000, [50, 2])),
    };
    nowMs = 0;
    asked = [];
    const client = {
      get: async () => {
        if (job === undefined) throw new RayJobError('not_found', 'no such job');
        return job as never;
      },
      nodes: async () => Object.keys(onNode).map((nodeId) => ({ nodeId, resources: new Map() })),
      workers: async (nodeId: string) => {
        asked.push(nodeId);
        return onNode[nodeId]!;
      },
    };
    usage = new RayUsage(client, { now: () => nowMs });
  });
  const read = (afterMs = 0) => {
    nowMs += afterMs;
    return usage.of(KEY, signal);
  };

  test('is that of its driver and workers on all nodes, and of nobody else’s', async () => {
    const gpus = { gpuMilli: 500, gpuMemoryBytes: 2 * 1024 ** 2 };
    expect(await read()).toEqual({ cpuMs: 1_750 + 3_750, memoryBytes: 3_000, ...gpus });
  });

  test('counts the CPU time of workers that ended, and is told in all when the job did; once', async () => {
    await read();
    onNode.n2 = workersOf(process(7, 'ffff', 3, 2_000), process(11, '02000000', 2, 500));
    expect(await read(10_000)).toEqual({ cpuMs: 1_750 + 3_750 + 2_750, memoryBytes: 1_500 });
    job = { ...job, status: 'SUCCEEDED' };
    expect(await read(10_000)).toEqual({ cpuMs: 1_750 + 3_750 + 2_750 });
    expect(await read()).toBeUndefined();
  });

  test('asks each node once for all jobs that are read within some seconds', async () => {
    await read();
    await usage.of('m-b2-1', signal);
    expect(asked).toEqual(['n1', 'n2']);
    await read(5_000);
    expect(asked).toEqual(['n1', 'n2', 'n1', 'n2']);
  });

  test('is remembered of so many jobs: of more, the one that was read longest ago is forgotten', async () => {
    await read();
    for (let i = 0; i < 9_999; i++) await usage.of(`m-other-${i}`, signal);
    await read();
    await usage.of('m-one-more-1', signal);
    job = { ...job, status: 'SUCCEEDED' };
    expect(await read()).toEqual({ cpuMs: 1_750 + 3_750 });
    expect(await usage.of('m-other-0', signal)).toBeUndefined();
    expect(await usage.of('m-other-1', signal)).toBeDefined();
  });

  test.each([
    ['of a job that Ray does not know', () => (job = undefined)],
    ['of a job that is no driver of Ray', () => (job = { ...job, jobId: undefined })],
    ['of a gang, whose ranks Ray does not look into', () => (job = { ...job, entrypoint: GANG_ENTRYPOINT })],
    ['while Ray has not learned whose its processes are', () => (job = { ...job, jobId: '03000000' })],
    [
      'in a cluster of more nodes than are asked',
      () => (onNode = Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`n${i}`, onNode.n1!]))),
    ],
  ])('is not told %s', async (_, given) => {
    given();
    expect(await read()).toBeUndefined();
  });

  test('a reply of another form is told, and an odd process is left out', () => {
    expect(workersOfReply({ data: {} })).toBe('the node has no list of workers');
    expect(workersOf({ pid: 1 }, { ...process(2, 'ffff', 1, 1), pid: -2 })).toEqual([]);
  });
});
