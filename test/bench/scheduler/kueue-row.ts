import { type Row, row } from '../harness.ts';
import { quotaBound } from './bounds.ts';
import { type ClassWait, fairnessOf, lostShare, makespanOf, usagePercent, waitsOf } from './figures.ts';
import { BASELINE, type Generator, LARGE_SCALE, queuesOf, workloadsOf } from './kueue-generators.ts';
import { kueuePlanner, longestMs, unbroken } from './kueue-planner.ts';
import { judgeOf, quotasOf } from './kueue-quotas.ts';
import { QueuePeer } from './queue-peers.ts';
import type { RowOptions } from './rows.ts';
import { type Scheduler, simulate } from './simulate.ts';
import type { Work } from './work.ts';

/**
 * Kueue's performance generators in virtual time: how far from the quota-bound optimum the planner's schedule ends, how even the queues were
 * served, and how much work its evictions lost. Deciding takes no time here; what it takes is told beside it.
 */

const FLOOR = 1.1;
const LIMIT =
  'the published policies: the larges of all queues of the baseline come at once and evict what the gap between them began';
const COMMAND = 'npm run bench:scheduler -- kueue';

export async function kueueRows(options: RowOptions): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const generator of [BASELINE, LARGE_SCALE]) rows.push(...(await rowsOf(generator, options)));
  return rows;
}

async function rowsOf(generator: Generator, options: RowOptions): Promise<readonly Row[]> {
  const works = workloadsOf(generator);
  const boundMs = quotaBound(works, quotasOf(generator));
  const ours = await measure(generator, works, kueuePlanner(generator), options);
  const guarded = await measure(generator, works, kueuePlanner(generator, unbroken(longestMs(generator))), options);
  const peer = await measure(generator, works, easyOf(generator), options);
  const name = `Kueue’s ${generator.name} in virtual time`;
  return [
    row({
      what: `${name}: makespan ÷ quota-bound optimum`,
      value: ours.makespanMs / boundMs,
      sense: 'at most',
      floor: FLOOR,
      aim: FLOOR,
      counted: true,
      detail: `${works.length} workloads, optimum ${seconds(boundMs)}; ${ours.told}; ${kueueTold(generator)}`,
      limit: LIMIT,
      command: COMMAND,
    }),
    row({
      what: `${name}: makespan ÷ optimum with a minimum run time of ${seconds(longestMs(generator))}`,
      value: guarded.makespanMs / boundMs,
      sense: 'at most',
      floor: FLOOR,
      aim: FLOOR,
      counted: true,
      detail: `the same quotas and priorities, and Merit’s guard so that nothing is evicted: ${guarded.told}`,
      command: COMMAND,
    }),
    row({
      what: `${name}: EASY backfill a cohort, without priorities, quotas or preemption`,
      value: peer.makespanMs / boundMs,
      sense: 'at most',
      floor: null,
      aim: null,
      detail: peer.told,
      command: COMMAND,
    }),
  ];
}

interface Measured {
  readonly makespanMs: number;
  readonly told: string;
}

async function measure(
  generator: Generator,
  works: readonly Work[],
  scheduler: Scheduler,
  { signal, progress }: RowOptions,
): Promise<Measured> {
  const before = process.cpuUsage();
  const onProgress = (ended: number, all: number) => progress.show(`${generator.name}, ${scheduler.name}`, ended, all);
  const { runs, decisions } = await simulate(works, scheduler, { signal, onProgress, judge: judgeOf(generator) });
  const { user, system } = process.cpuUsage(before);
  const cpuS = (user + system) / 1e6;
  const queues = queuesOf(generator);
  const fair = fairnessOf(
    runs,
    queues.map(({ name, cohort }) => ({ name, root: cohort })),
  );
  const makespanMs = makespanOf(runs);
  const usage = usagePercent(runs, generator.nominal * 1000 * queues.length);
  const told = [
    `${scheduler.name} ends at ${seconds(makespanMs)}`,
    `Jain’s index of the queues’ cumulative shares ${fair.jain.toFixed(3)}, at worst ${fair.worst.toFixed(3)}`,
    `${(100 * lostShare(runs)).toFixed(1)} % of what was held was lost to ${waitsOf(runs).get('all')!.evictions} evictions`,
    `mean time to admission ${waitsTold(generator, waitsOf(runs))}`,
    `usage ${usage.toFixed(1)} %`,
    `${decisions} cycles, ${cpuS.toFixed(1)} s of CPU with the simulator`,
  ].join(', ');
  return { makespanMs, told };
}

function waitsTold({ classes }: Generator, waits: ReadonlyMap<string, ClassWait>): string {
  return classes.map(({ name }) => `${name} ${seconds(waits.get(name)!.meanMs)}`).join(', ');
}

function kueueTold({ kueue }: Generator): string {
  const waits = Object.entries(kueue.admissionMs).map(([name, ms]) => `${name} ${seconds(ms)}`);
  return `Kueue’s own CI, with an API server and by the wall clock: ${seconds(kueue.wallMs)}, usage ${kueue.usagePercent} %, ${waits.join(', ')}`;
}

function easyOf(generator: Generator): Scheduler {
  const capacity = generator.queuesPerCohort * generator.nominal * 1000;
  const cohorts = new Map(queuesOf(generator).map(({ cohort }) => [cohort, capacity]));
  return new QueuePeer('EASY backfill', cohorts, (work) => work.root);
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}
