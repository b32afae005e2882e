import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RayJobError } from 'ray-job-submission-client';
import { afterAll, describe, expect, test } from 'vitest';
import { isEnded, type StateName } from '../../core/booking.ts';
import { systemClock } from '../../platform/clock.ts';
import { guarded } from '../../providers/guarded.ts';
import type { Provider } from '../../providers/provider.ts';
import { openRayProvider } from '../../providers/ray/adapter.ts';
import { Allocator } from '../../scheduler/apply/engine.ts';
import { runReconciler } from '../../scheduler/reconcile/sweep.ts';
import { healthy } from '../support/healthy.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';
import { rayInstallMissing } from '../support/python.ts';
import { type Cut, type CuttingProxy, startCuttingProxy } from '../support/ray-cutting-proxy.ts';
import { NODE_GIVES_UP_S, type RayCluster, type RayMachine, startRayCluster } from '../support/ray-nodes.ts';
import { type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';

const missing = rayInstallMissing();
/** `npm run test:ray-jobs` books 40, or as many as MERIT_RAY_JOBS says. */
const JOBS = Number(process.env.MERIT_RAY_JOBS);
const GANGS = 2;
const CPUS_OF_NODE = 6;
const LOST_REPLIES = 0.1;
const CUTS: readonly Cut[] = ['reply', 'request', 'half'];
/** Only for what hangs: a cluster starts four times, and Ray sees a dead node after 14 s. */
const LIMIT_MS = 400_000 + JOBS * 10_000;
/** Of one wait, and only for what hangs too. */
const WAIT_LIMIT_MS = 120_000 + JOBS * 6_000;
const signal = new AbortController().signal;

/** One line of what the jobs did, in the order of time. */
interface Effect {
  readonly what: 'start' | 'beat' | 'end';
  readonly booking: string;
  readonly attempt: number;
  readonly rank: number;
  readonly atNs: bigint;
}

const SAY = 'echo "$1 $MERIT_BOOKING $MERIT_ATTEMPT $MERIT_NODE_RANK $(date +%s%N)" >> "$EFFECTS"';
/** The first ones go on until the node is dead, and the last few until the head is, so that there is always work to lose: more than one node takes, and a few. */
const HELD_FIRST = CPUS_OF_NODE + 1;
const HELD_LAST = 3;
const RUN = `say() { ${SAY}; }; say start; i=0; while [ $i -lt $BEATS ] || [ ! -e "$GO" ]; do sleep 0.5; say beat; i=$((i+1)); done; say end`;

describe.skipIf(missing !== undefined)(
  `bookings on a real Ray of two nodes${missing === undefined ? '' : ` (${missing})`}`,
  () => {
    const closers: (() => Promise<unknown>)[] = [];
    afterAll(async () => {
      for (const close of closers.toReversed()) await close();
    });

    test(
      `${JOBS} of them all end well, each attempt once and one at a time, though a tenth of the replies is lost, a node is killed and the head is started anew`,
      async () => {
        const folder = await mkdtemp(join(tmpdir(), 'merit-proof-'));
        closers.push(() => rm(folder, { recursive: true }));
        const effects = join(folder, 'effects');
        await writeFile(effects, '');
        const cluster = await startRayCluster(CPUS_OF_NODE);
        closers.push(() => cluster.close());
        const first = await cluster.addNode();
        const proxy = await startCuttingProxy(cluster.address, lostReplies(7));
        closers.push(() => proxy.close());
        const world = await sagaWorld(2 * CPUS_OF_NODE);
        closers.push(() => world.close());
        const config = {
          address: proxy.url,
          tokenFile: cluster.tokenFile,
          flavours: [{ name: 'cpu' }],
          timeoutMs: 10_000,
          stopGraceSeconds: 2,
          nodeGivesUpSeconds: NODE_GIVES_UP_S + 4,
        };
        const provider = guarded(await openRayProvider(config, systemClock));
        closers.push(() => provider.close());
        const engine = startEngine(world, provider);
        closers.push(() => engine.stop());
        const startedMs = performance.now();
        const ids = await book(world, folder);
        for (const id of ids) engine.wake(id);
        const ended = async () => {
          const all = (await statesOf(world, ids)).filter(isEnded);
          const bad = all.filter((state) => state !== 'released');
          if (bad.length > 0) throw new Error(`${bad.join(', ')}: ${JSON.stringify(await attemptsOf(world))}`);
          return all.length;
        };

        const until = (what: string, done: () => Promise<boolean>) =>
          waitUntil(what, done, async () => [await attemptsOf(world), await cluster.client.list().catch(String)]);

        const held = ids.slice(0, HELD_FIRST);
        await until(
          'a sixth has ended, and one that is held runs on the node that dies',
          async () => (await ended()) >= JOBS / 6 && (await runsOn(cluster, { nodeId: first.nodeId, ids: held })),
        );
        await first.kill();
        // Another one joins in the 14 s until Ray sees that it is dead.
        const second = await cluster.addNode();
        await until('Ray sees that the node is dead', async () => isGone(cluster, first));
        await writeFile(join(folder, 'on'), '');
        // Ray tells of its jobs some seconds after it tells of the node: with the head gone sooner, nobody would hear of them.
        await until('an attempt is lost with the node', async () => {
          await ended();
          return (await attemptsOf(world)).some(isLostWithNode);
        });
        await until('half has ended, and one runs', async () => (await ended()) >= JOBS / 2 && (await runsOn(cluster)));
        await cluster.killHead();
        const headDiedMs = Date.now();
        await cluster.startHead();
        await writeFile(join(folder, 'go'), '');
        await until('the node of the lost head gives up', async () => isGone(cluster, second));
        await cluster.addNode();
        await until('all have ended', async () => (await ended()) === JOBS);
        const tookS = (performance.now() - startedMs) / 1000;

        // Every outcome is known, and good.
        expect(new Set(await statesOf(world, ids))).toEqual(new Set(['released']));
        const did = effectsOf(await readFile(effects, 'utf8'));
        const attempts = await attemptsOf(world);
        tell({ did, attempts, proxy, tookS, headDiedMs });
        expectOnce(did, ids);
        expectOneAtATime(did);
        // No orphans: nothing with our tag lives, and Ray has all that it had.
        expect((await provider.list('merit-test', signal)).filter((owned) => owned.live)).toEqual([]);
        await until('all CPUs are free', async () => {
          const [all] = await provider.capacity(signal).catch(() => []);
          return all?.freeCpuMilli === BigInt(2 * CPUS_OF_NODE * 1000);
        });
        expect(await ledgerLeaks(world.database.db)).toEqual([]);
        // It was tried: work was lost with the node and with the head, replies were, and no key was ever run by two posts.
        expect(attempts.some(isLostWithNode)).toBe(true);
        expect(attempts.some(({ message }) => message.includes('the cluster that ran the job is gone'))).toBe(true);
        for (const cut of CUTS) expect([...proxy.cuts.keys()]).toContain(`${cut} POST /api/jobs/`);
      },
      LIMIT_MS,
    );
  },
);

function startEngine(world: SagaWorld, provider: Provider) {
  const stop = new AbortController();
  const context = {
    ...world.context,
    sweepEveryMs: 3_000,
    providers: { of: async () => provider, health: () => healthy() },
  };
  const allocator = new Allocator(context);
  const loops = [allocator.run(stop.signal), runReconciler(context, stop.signal)];
  return {
    wake: (id: string) => allocator.wake(id),
    stop: async () => {
      stop.abort();
      await Promise.all(loops);
    },
  };
}

async function book(world: SagaWorld, folder: string): Promise<readonly string[]> {
  const ids: string[] = [];
  for (let i = 0; i < JOBS; i++) {
    const beats = String(4 + ((i * 7) % 25));
    const isGang = i % Math.ceil(JOBS / GANGS) === Math.ceil(JOBS / GANGS) - 1;
    const go = i < HELD_FIRST ? join(folder, 'on') : i < JOBS - HELD_LAST ? folder : join(folder, 'go');
    const envs = { EFFECTS: join(folder, 'effects'), BEATS: beats, GO: go };
    const job = { run: RUN, envs, lease: '30m', resources: { cpus: 1 } };
    ids.push(await world.book({ ...job, ...(isGang ? { num_nodes: 2 } : {}) }));
  }
  return ids;
}

/** What hangs says what it waited for, and how things stood. */
async function waitUntil(what: string, done: () => Promise<boolean>, standing: () => Promise<unknown>): Promise<void> {
  const deadlineMs = performance.now() + WAIT_LIMIT_MS;
  for (;;) {
    try {
      if (await done()) return;
    } catch (error) {
      // The head is away for a while; anything else is what this test is there to find.
      if (!(error instanceof RayJobError)) throw error;
    }
    if (performance.now() > deadlineMs)
      throw new Error(`waited ${WAIT_LIMIT_MS / 1000} s until ${what}: ${JSON.stringify(await standing(), null, 1)}`);
    await systemClock.sleep(300);
  }
}

async function isGone(cluster: RayCluster, { nodeId }: RayMachine): Promise<boolean> {
  return !(await cluster.client.nodes()).some((node) => node.nodeId === nodeId);
}

/** A tenth of all; of submits exactly every tenth, since by chance one run in seven would lose no reply of theirs. */
function lostReplies(seed: number): (what: string) => Cut | undefined {
  let submits = 0;
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  return (what) => {
    if (what !== 'POST /api/jobs/')
      return random() < LOST_REPLIES ? CUTS[Math.floor(random() * CUTS.length)] : undefined;
    const [nth, rest] = [Math.floor(submits / 10), submits++ % 10];
    return rest === 4 ? CUTS[nth % CUTS.length] : undefined;
  };
}

async function statesOf(world: SagaWorld, ids: readonly string[]): Promise<readonly StateName[]> {
  const rows = await world.database.db.asTenant(TENANT, (tx) =>
    tx.query<{ state: StateName }>('select state from bookings where booking_id = any($1)', [ids]),
  );
  return rows.map((row) => row.state);
}

interface Attempt {
  readonly key: string;
  readonly outcome: string;
  readonly code: string;
  readonly message: string;
}

function isLostWithNode({ message }: Attempt): boolean {
  return message.includes('node');
}

function attemptsOf(world: SagaWorld): Promise<readonly Attempt[]> {
  return world.database.db.asTenant(TENANT, (tx) =>
    tx.query<Attempt>(
      "select key, outcome, coalesce(end_code, '') as code, coalesce(message, '') as message from attempts order by key",
    ),
  );
}

/** Does one run, or one of these on that node? */
async function runsOn(
  cluster: RayCluster,
  of?: { readonly nodeId: string; readonly ids: readonly string[] },
): Promise<boolean> {
  const running = (await cluster.client.list()).filter(({ status }) => status === 'RUNNING');
  if (of === undefined) return running.length > 0;
  return running.some(
    ({ nodeId, submissionId }) => nodeId === of.nodeId && of.ids.some((id) => submissionId?.startsWith(`m-${id}-`)),
  );
}

function effectsOf(text: string): readonly Effect[] {
  return text
    .trim()
    .split('\n')
    .map((line) => {
      const [what, booking = '', attempt, rank, atNs = '0'] = line.split(' ');
      return {
        what: what as Effect['what'],
        booking,
        attempt: Number(attempt),
        rank: Number(rank),
        atNs: BigInt(atNs),
      };
    })
    .toSorted((a, b) => (a.atNs < b.atNs ? -1 : 1));
}

/** Each attempt began at most once on each of its nodes, and the last one of each booking did all of its work. */
function expectOnce(did: readonly Effect[], ids: readonly string[]): void {
  const starts = did.filter(({ what }) => what === 'start').map((one) => `${one.booking} ${one.attempt} ${one.rank}`);
  expect(starts.filter((key, i) => starts.indexOf(key) !== i)).toEqual([]);
  for (const id of ids) {
    const own = did.filter(({ booking }) => booking === id);
    const last = Math.max(...own.map(({ attempt }) => attempt));
    const count = (what: Effect['what']) => own.filter((one) => one.attempt === last && one.what === what).length;
    expect([id, count('end')]).toEqual([id, count('start')]);
    expect(count('end')).toBeGreaterThan(0);
  }
}

/** Nothing of an attempt happens after the next one of its booking began. */
function expectOneAtATime(did: readonly Effect[]): void {
  const newest = new Map<string, number>();
  const late = did.filter(({ booking, attempt }) => {
    const seen = newest.get(booking) ?? 0;
    newest.set(booking, Math.max(seen, attempt));
    return attempt < seen;
  });
  expect(late).toEqual([]);
}

function tell(seen: {
  readonly did: readonly Effect[];
  readonly attempts: readonly Attempt[];
  readonly proxy: CuttingProxy;
  readonly tookS: number;
  readonly headDiedMs: number;
}): void {
  const { did, attempts, proxy } = seen;
  const codes = Map.groupBy(
    attempts,
    ({ code, message }) => `${code}: ${message.replace(/[\d.]+/g, 'N').slice(0, 90)}`,
  );
  const cut = [...proxy.cuts.values()].reduce((all, count) => all + count, 0);
  const lostToHead = did.filter(({ atNs }) => atNs > BigInt(seen.headDiedMs) * 1_000_000n).length;
  console.info(
    JSON.stringify(
      {
        jobs: JOBS,
        attempts: attempts.length,
        posts: proxy.posts.length,
        keysPosted: new Set(proxy.posts.map(({ id }) => id)).size,
        requests: proxy.requests,
        cut,
        seconds: Math.round(seen.tookS),
        effects: did.length,
        effectsAfterTheHeadDied: lostToHead,
        ends: Object.fromEntries([...codes].map(([code, of]) => [code, of.length])),
        cuts: Object.fromEntries(proxy.cuts),
      },
      null,
      1,
    ),
  );
}
