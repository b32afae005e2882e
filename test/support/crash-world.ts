import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isEnded } from '../../core/booking.ts';
import { type FinanceSimulator, startFinanceSimulator } from '../../peers/finance/simulator.ts';
import { type SentinelSimulator, startSentinelSimulator } from '../../peers/sentinelnet/simulator.ts';
import { type Booking, loadBooking } from '../../scheduler/apply/booking-store.ts';
import { type TestDatabase, testDatabase } from './db.ts';
import { type PausingProxy, startPausingProxy } from './pausing-proxy.ts';
import { rayForTests, type TestRay } from './ray.ts';
import { type ServerProcess, startServerProcess } from './server-process.ts';

export const TENANT = 'default';
export const DIVISION = 'vision';
const POOL = 'ray';
const SETTLE_MS = 60_000;
const POLL_MS = 25;

/** A server in a process of its own, on real Postgres and real Ray; both peers and the way to Ray are held by the test. */
export interface CrashWorld {
  readonly database: TestDatabase;
  readonly ray: TestRay;
  readonly proxy: PausingProxy;
  readonly sentinel: SentinelSimulator;
  readonly finance: FinanceSimulator;
  readonly stateDir: string;
  /** `kill -9`, now. */
  kill(): Promise<void>;
  /** Starts it anew on the same state, unless it runs. */
  start(): Promise<void>;
  call(method: 'GET' | 'POST' | 'PUT', path: string, body?: object, key?: string): Promise<Reply>;
  /** Books a job and returns its id. */
  submit(job?: TestJob): Promise<string>;
  booking(id: string): Promise<Booking>;
  /** Resolves with the booking once `done` holds of it; throws with its state otherwise. */
  until(id: string, done: (booking: Booking) => boolean): Promise<Booking>;
  ended(id: string): Promise<Booking>;
  /** The name of a file that jobs and the test both reach. */
  file(name: string): string;
  close(): Promise<void>;
}

export interface Reply {
  readonly status: number;
  readonly bytes: Buffer;
  /** Throws what the server said where it is not the JSON of a success. */
  json<T>(): T;
}

export interface TestJob {
  readonly run?: string;
  readonly envs?: Readonly<Record<string, string>>;
  readonly max_restarts?: number;
}

/** Each run of a job leaves one line in its tally: whoever runs twice leaves two. */
const TALLY = 'echo "$MERIT_BOOKING" >> "$TALLY"';
const LEAVE_A_FILE = 'printf done > "$(printf %s "$MERIT_OUTPUTS" | sed s,^file://,,)/model.txt"';

export const QUICK_JOB = `${TALLY}; ${LEAVE_A_FILE}`;
/** Runs until the file GO is there. */
export const HELD_JOB = `${TALLY}; until [ -e "$GO" ]; do sleep 0.1; done; ${LEAVE_A_FILE}`;

export async function crashWorld(): Promise<CrashWorld> {
  const stateDir = await mkdtemp(join(tmpdir(), 'merit-chaos-'));
  const closers: (() => Promise<unknown>)[] = [() => rm(stateDir, { recursive: true, force: true })];
  const close = async () => {
    for (const closer of closers.splice(0).toReversed()) await closer();
  };
  const keep = async <T extends { close(): Promise<void> }>(part: Promise<T>): Promise<T> => {
    const kept = await part;
    closers.push(() => kept.close());
    return kept;
  };
  try {
    const ray = await rayForTests();
    closers.push(() => ray.stop());
    const database = await keep(testDatabase());
    const sentinel = await keep(startSentinelSimulator());
    const finance = await keep(startFinanceSimulator({ journalPath: join(stateDir, 'finance.jsonl') }));
    const proxy = await keep(startPausingProxy(ray.address));
    await writeFile(join(stateDir, 'test.yaml'), 'intervals:\n  reconcile: 1s\n  plan: 200ms\n');
    let server: ServerProcess | undefined;
    const start = async () => {
      server ??= await startServerProcess({
        stateDir,
        env: {
          MERIT_CONFIG: join(stateDir, 'test.yaml'),
          MERIT_NO_PYTHON: 'the test has a Ray of its own',
          MERIT_TENANT: TENANT,
          DATABASE_URL: database.urls.app,
          ENGINE_DATABASE_URL: database.urls.engine,
          MERIT_SENTINELNET_URL: sentinel.url,
          MERIT_FINANCE_URL: finance.url,
        },
      });
    };
    const kill = async () => {
      const killed = server;
      server = undefined;
      await killed?.kill();
    };
    closers.push(() => kill());
    const live = (): ServerProcess => {
      if (server === undefined) throw new Error('the server is not running now');
      return server;
    };
    const world = openWorld({ database, ray, proxy, sentinel, finance, stateDir, kill, start, close }, live);
    await start();
    await furnish(world);
    return world;
  } catch (error) {
    await close();
    throw error;
  }
}

type Parts = Pick<
  CrashWorld,
  'database' | 'ray' | 'proxy' | 'sentinel' | 'finance' | 'stateDir' | 'kill' | 'start' | 'close'
>;

function openWorld(parts: Parts, live: () => ServerProcess): CrashWorld {
  const file = (name: string) => join(parts.stateDir, name);
  const call: CrashWorld['call'] = async (method, path, body, key = randomUUID()) => {
    const { url, token } = live();
    const reply = await fetch(url + path, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(method === 'POST' ? { 'idempotency-key': key } : {}),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return replyOf(`${method} ${path}`, reply.status, Buffer.from(await reply.arrayBuffer()));
  };
  const booking = async (id: string): Promise<Booking> => {
    const found = await parts.database.db.asTenant(TENANT, (tx) => loadBooking(tx, id));
    if (found === undefined) throw new Error(`no booking ${id}`);
    return found;
  };
  const until: CrashWorld['until'] = async (id, done) => {
    const deadline = performance.now() + SETTLE_MS;
    for (;;) {
      const found = await booking(id);
      if (done(found)) return found;
      if (performance.now() > deadline) {
        const log = await readFile(file('merit.log'), 'utf8').catch(() => '');
        throw new Error(`booking ${id} stays ${JSON.stringify(found.state)}\n${log.slice(-4_000)}`);
      }
      await sleep(POLL_MS);
    }
  };
  return {
    ...parts,
    call,
    submit: async (job = {}) =>
      (await call('POST', '/v1/jobs', jobFile(file('tally'), job))).json<{ readonly id: string }>().id,
    booking,
    until,
    ended: (id) => until(id, ({ state }) => isEnded(state.state)),
    file,
  };
}

function replyOf(what: string, status: number, bytes: Buffer): Reply {
  return {
    status,
    bytes,
    json: <T>() => {
      if (status >= 300) throw new Error(`${what} was answered ${status}: ${bytes.toString('utf8')}`);
      return JSON.parse(bytes.toString('utf8')) as T;
    },
  };
}

export function jobFile(tally: string, { run = QUICK_JOB, envs = {}, max_restarts = 0 }: TestJob = {}) {
  return {
    name: 'train',
    division: DIVISION,
    resources: { cpus: 1 },
    pools: [POOL],
    lease: '5m',
    run,
    envs: { TALLY: tally, ...envs },
    max_restarts,
  };
}

export const MODEL = 'ranker';
export const VERSION = `${MODEL}-v1`;
export const SUITE = 'relevance';

/** A pool on the Ray behind the proxy, a quota and money for the division, and a model that can be retrained. */
async function furnish({ call, proxy, ray, file }: CrashWorld): Promise<void> {
  const pool = {
    apiVersion: 'merit/v1',
    kind: 'Pool',
    name: POOL,
    provider: { kind: 'ray', config: { address: proxy.url, tokenFile: ray.tokenFile, stopGraceSeconds: 1 } },
    flavours: [{ name: 'cpu', resource: 'cpu', capacity: 16, price: { currency: 'USD', perUnitHour: '60.00' } }],
    quotas: { [DIVISION]: { cpu: 16 } },
  };
  const budget = { apiVersion: 'merit/v1', kind: 'Budget', division: DIVISION, currency: 'USD', limit: '1000000.00' };
  (await call('PUT', `/v1/pools/${POOL}`, pool)).json();
  const suite = {
    apiVersion: 'merit/v1',
    kind: 'Suite',
    name: SUITE,
    metrics: { accuracy: { direction: 'higher', floor: 0, ceil: 1, required: true } },
  };
  const model = {
    apiVersion: 'merit/v1',
    kind: 'Model',
    name: MODEL,
    division: DIVISION,
    suite: SUITE,
    retrain: jobFile(file('tally')),
  };
  (await call('PUT', `/v1/budgets/${DIVISION}`, budget)).json();
  (await call('PUT', `/v1/suites/${SUITE}`, suite)).json();
  (await call('PUT', `/v1/models/${MODEL}`, model)).json();
  (await call('PUT', `/v1/models/${MODEL}/versions/${VERSION}`, {})).json();
}
