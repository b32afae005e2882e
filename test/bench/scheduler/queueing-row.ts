import type { PlannerConfig } from '../../../pools/planner-input.ts';
import { type Row, row } from '../harness.ts';
import { idleWhileWaiting, lostShare, makespanOf, waitsOf } from './figures.ts';
import { readTrace } from './gpu-trace.ts';
import { LimitJudge } from './judge.ts';
import { aDivision, aFlavour, NO_SHARING, PlannerScheduler } from './planner-scheduler.ts';
import { QueuePeer } from './queue-peers.ts';
import { cutFleet, type QueueingCase, queueingCase, TRACE_QUEUE } from './queueing.ts';
import type { RowOptions } from './rows.ts';
import { type Scheduler, simulate } from './simulate.ts';
import { heldBy } from './work.ts';

/** The real trace's arrivals and run times on a fleet cut to 48 GPUs with its mix of types: who waits how long, and what stands idle meanwhile. */

const GPUS = 48;
const FLOOR = 1;
const COMMAND = 'npm run bench:scheduler -- trace';
const HOUR_MS = 3_600_000;
const RESOURCE = 'gpu';

export async function queueingRows(options: RowOptions): Promise<readonly Row[]> {
  const trace = readTrace(options.trace, 'default');
  const what = 'queueing the GPU trace on 48 GPUs: mean wait';
  if (trace === undefined) {
    const detail = `skipped: no trace in ${options.trace}; name its folder with --trace`;
    return [row({ what, value: null, floor: FLOOR, aim: null, detail, command: COMMAND })];
  }
  const fleet = cutFleet(trace.nodes, GPUS);
  const of = queueingCase(trace, fleet);
  const fifo = await measure(of, fleet, new QueuePeer('first in, first out', fleet), options);
  const easy = await measure(of, fleet, new QueuePeer('EASY backfill', fleet), options);
  const ours = await measure(of, fleet, plannerOf(fleet), options);
  const given = `${of.works.length} pods (${of.neverRan} never ran, ${of.tooLarge} too large), fleet ${[...fleet].map(([model, milli]) => `${milli / 1000} ${model}`).join(', ')}`;
  return [fifo, easy].map((peer, at) =>
    row({
      what: `${what} by ${peer.name} ÷ by Merit`,
      value: peer.meanWaitMs / ours.meanWaitMs,
      floor: FLOOR,
      aim: null,
      counted: true,
      detail: at === 0 ? `${given}; ${ours.told}; ${peer.told}` : peer.told,
      command: COMMAND,
    }),
  );
}

interface Measured {
  readonly name: string;
  readonly meanWaitMs: number;
  readonly told: string;
}

async function measure(
  { works }: QueueingCase,
  fleet: ReadonlyMap<string, number>,
  scheduler: Scheduler,
  { signal, progress }: RowOptions,
): Promise<Measured> {
  const judge = new LimitJudge(fleet, ({ flavour }) => [flavour]);
  const onProgress = (ended: number, all: number) => progress.show(`queueing, ${scheduler.name}`, ended, all);
  const { runs } = await simulate(works, scheduler, { signal, onProgress, judge });
  const waits = waitsOf(runs);
  const held = runs.reduce((sum, run) => sum + heldBy(run), 0);
  const wasted = idleWhileWaiting(runs, fleet) + lostShare(runs) * held;
  const classes = [...waits].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const told = [
    `${scheduler.name}: ${gpuHours(wasted)} GPU-hours wasted (free while work waited that may have them, or lost to evictions) beside ${gpuHours(held)} held until ${(makespanOf(runs) / HOUR_MS).toFixed(0)} h`,
    ...classes.map(
      ([name, { count, meanMs, p95Ms }]) => `${name} (${count}) waits ${minutes(meanMs)}, p95 ${minutes(p95Ms)}`,
    ),
  ].join(', ');
  return { name: scheduler.name, meanWaitMs: waits.get('all')!.meanMs, told };
}

/** One division has the fleet; types in the order in which the peers try them. */
function plannerOf(fleet: ReadonlyMap<string, number>): Scheduler {
  const flavours = [...fleet].toSorted(([, a], [, b]) => a - b).map(([model]) => model);
  const quota = flavours.map((flavour) => {
    return { flavour, resource: RESOURCE, nominalMilli: fleet.get(flavour)!, borrowMilli: 0, lendMilli: 0 };
  });
  const config: PlannerConfig = {
    fairSharing: NO_SHARING,
    flavours: flavours.map((model) => aFlavour(model, { [RESOURCE]: fleet.get(model)! })),
    nodes: [],
    groups: [],
    divisions: [aDivision(TRACE_QUEUE, { group: null, flavours, quota })],
    guards: [],
    reservations: [],
  };
  return new PlannerScheduler(config, RESOURCE);
}

function gpuHours(milliMs: number): string {
  return (milliMs / 1000 / HOUR_MS).toFixed(0);
}

function minutes(ms: number): string {
  return `${(ms / 60_000).toFixed(1)} min`;
}
