import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { attemptKey, type BookingId } from '../../core/ids.ts';
import type { FinanceRoute } from '../../peers/finance/simulator.ts';
import type { CrashWorld } from './crash-world.ts';
import { type PostgresStand, standAtEvent, standAtRow, standAtTable } from './postgres-stand.ts';

type When = 'before-effect' | 'before-answer';

/** A place where a booking stands still until `open`, held by something that the server talks to. */
export interface KillPoint {
  /** Brings the booking there; resolves once it stands. */
  reached(id: string): Promise<void>;
  /** Lets go of what was held; what still stands takes its effect now. May be called again. */
  open(): Promise<void>;
}

/** Set up before the booking is made, so that it cannot pass by. */
export type KillPointMaker = (world: CrashWorld) => Promise<KillPoint>;

const POLL_MS = 10;
const WAIT_LIMIT_MS = 60_000;

export function atSentinelNet(route: 'decide' | 'policy-version', when: When): KillPointMaker {
  return async ({ sentinel }) => {
    const gate = sentinel.control.hold(route, when);
    return { reached: () => gate.reached, open: async () => gate.open() };
  };
}

export function atFinance(route: FinanceRoute, when: When): KillPointMaker {
  return async ({ finance }) => {
    const gate = finance.control.hold(route, when);
    return { reached: () => gate.reached, open: async () => gate.open() };
  };
}

/** What Merit asks of Ray about an attempt, in the order of a booking's life. */
export type RayCall = 'look' | 'submit' | 'log' | 'stop';

/** The first such call of attempt 1; later ones pass. */
export function atRay(call: RayCall, when: When): KillPointMaker {
  return async ({ proxy }) => {
    let seen = false;
    const gate = proxy.hold((method, path) => {
      if (seen || !isRayCall(call, method, path)) return false;
      seen = true;
      return true;
    }, when);
    return onceOpen(() => gate.reached, gate.open);
  };
}

function isRayCall(call: RayCall, method: string, path: string): boolean {
  switch (call) {
    case 'look':
      return method === 'GET' && /^\/api\/jobs\/m-[^/]+$/.test(path);
    case 'submit':
      return method === 'POST' && path === '/api/jobs/';
    case 'log':
      return method === 'GET' && /^\/api\/jobs\/m-[^/]+\/logs$/.test(path);
    case 'stop':
      return method === 'POST' && /^\/api\/jobs\/m-[^/]+\/stop$/.test(path);
  }
}

function onceOpen(reached: () => Promise<void>, open: () => void): KillPoint {
  let opened = false;
  return {
    reached,
    open: async () => {
      if (!opened) open();
      opened = true;
    },
  };
}

/** The transaction that writes the booking's audit event number `n`, all of it done but that event and the commit. */
export function atEvent(n: number): KillPointMaker {
  return standing((world, id) => standAtEvent(world.database.urls.admin, id, n));
}

/** The transaction that reserves, with nothing of it done yet. */
export function atReservation(): KillPointMaker {
  return standing((world, id) => standAtRow(world.database.urls.admin, id));
}

/** With its outputs in the object store, before the manifest is made of them. */
export function atManifestLookup(): KillPointMaker {
  return standing((world) => standAtTable(world.database.urls.admin, 'manifests', 'access exclusive'));
}

/** With its manifest recorded, while its reports go to the event log. */
export function atReports(): KillPointMaker {
  return standing((world) => standAtTable(world.database.urls.admin, 'log_messages', 'share'));
}

/** A new booking, with nothing of it written yet. */
export function atBooking(): KillPointMaker {
  return (world) => standAtTable(world.database.urls.admin, 'bookings', 'share');
}

/** The lock is taken while SentinelNet's answer is on its way: by then the booking has its id, and has done nothing yet. */
function standing(take: (world: CrashWorld, id: string) => Promise<PostgresStand>): KillPointMaker {
  return async (world) => {
    const gate = world.sentinel.control.hold('decide', 'before-answer');
    let stand: PostgresStand | undefined;
    return {
      reached: async (id) => {
        await gate.reached;
        stand = await take(world, id);
        gate.open();
        await stand.reached();
      },
      open: async () => {
        gate.open();
        await stand?.open();
      },
    };
  };
}

/** The look at Ray that `releasing` begins with; `n` is the number of the event that enters it. */
export function atReleaseLook(n: number): KillPointMaker {
  return async (world) => {
    const transaction = await atEvent(n)(world);
    let look: KillPoint | undefined;
    return {
      reached: async (id) => {
        await transaction.reached(id);
        look = await atRay('look', 'before-answer')(world);
        await transaction.open();
        await look.reached(id);
      },
      open: async () => {
        await transaction.open();
        await look?.open();
      },
    };
  };
}

/** With one of its two outputs stored: where the other belongs stands a folder, so that it cannot be stored. */
export function atSecondOutput(first: string, second: string): KillPointMaker {
  return async (world) => {
    const gate = await atRay('submit', 'before-effect')(world);
    let obstacle: string | undefined;
    return {
      reached: async (id) => {
        await gate.reached(id);
        const files = join(world.stateDir, 'objects', 'artifacts', 'default', id, '1', 'files');
        obstacle = join(files, second);
        await mkdir(obstacle, { recursive: true });
        await gate.open();
        const deadline = performance.now() + WAIT_LIMIT_MS;
        while (!existsSync(join(files, first))) {
          if (performance.now() > deadline) throw new Error(`${first} was never stored`);
          await sleep(POLL_MS);
        }
      },
      open: async () => {
        await gate.open();
        if (obstacle !== undefined) await rm(obstacle, { recursive: true, force: true });
      },
    };
  };
}

/** Resolves once its job runs and the booking is `applied`. */
export async function running(world: CrashWorld, id: string): Promise<void> {
  await world.until(id, ({ state }) => state.state === 'applied');
  await rayStatus(world, attemptKey(id as BookingId, 1), (status) => status === 'RUNNING');
}

/** Ray's own word on a job, asked directly and not through the proxy, as soon as `done` holds of it. */
export async function rayStatus(world: CrashWorld, key: string, done: (status: string) => boolean): Promise<string> {
  const deadline = performance.now() + WAIT_LIMIT_MS;
  for (;;) {
    const jobs = await rayJobs(world);
    const status = jobs.find((job) => job.submission_id === key)?.status;
    if (status !== undefined && done(status)) return status;
    if (performance.now() > deadline) throw new Error(`Ray still has ${key} as ${status}`);
    await sleep(10 * POLL_MS);
  }
}

export interface RayJobRow {
  readonly submission_id: string | null;
  readonly status: string;
  readonly metadata: Readonly<Record<string, string>> | null;
}

/** Ray's own list, asked directly. */
export async function rayJobs({ ray }: Pick<CrashWorld, 'ray'>): Promise<readonly RayJobRow[]> {
  const reply = await fetch(`${ray.address}/api/jobs/`, { headers: { authorization: `Bearer ${ray.token}` } });
  if (!reply.ok) throw new Error(`Ray answered ${reply.status}`);
  return (await reply.json()) as readonly RayJobRow[];
}
