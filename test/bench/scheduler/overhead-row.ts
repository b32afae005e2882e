import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { assert } from '../../../core/assert.ts';
import { startFinanceSimulator } from '../../../peers/finance/simulator.ts';
import { startSentinelSimulator } from '../../../peers/sentinelnet/simulator.ts';
import { type FakeRay, startFakeRay } from '../../support/fake-ray.ts';
import { type ServerProcess, startServerProcess } from '../../support/server-process.ts';
import { type BenchDatabase, startBenchPostgres, TENANT } from '../database.ts';
import { median, type Row, row } from '../harness.ts';
import type { RowOptions } from './rows.ts';

/**
 * From a job that is submitted over HTTP to the POST at the provider, the queue being quiet: `merit start` in a process of its own, its
 * Postgres, the peers' simulators and a stand-in for Ray's Jobs API behind loopback, in this process. What the peers and Ray take to answer is in.
 */

const FLOOR_MS = 100;
const AIM_MS = 30;
const JOBS = 30;
const WARM_UPS = 5;
const POLL_MS = 25;
const LIMIT_MS = 60_000;
const COMMAND = 'npm run bench:scheduler -- overhead';

/** Times by one clock, that of this machine. */
interface Passage {
  readonly askedMs: number;
  readonly answeredMs: number;
  readonly createdMs: number;
  readonly reservedMs: number;
  readonly requestingMs: number;
  readonly postedMs: number;
}

export async function overheadRows({
  signal,
  progress,
}: Pick<RowOptions, 'signal' | 'progress'>): Promise<readonly Row[]> {
  const closers: (() => Promise<unknown>)[] = [];
  try {
    const bench = await Bench.open(closers);
    for (let i = 0; i < WARM_UPS; i++) await bench.pass(signal);
    const passages: Passage[] = [];
    for (let i = 0; i < JOBS; i++) {
      progress.show('jobs on their way', i, JOBS);
      passages.push(await bench.pass(signal));
    }
    const all = passages.map(({ answeredMs, postedMs }) => postedMs - answeredMs).sort((a, b) => a - b);
    return [
      row({
        what: `from an accepted job to its POST at the provider, quiet queue, ${JOBS} jobs, p50`,
        value: median(all),
        unit: 'ms',
        sense: 'at most',
        floor: FLOOR_MS,
        aim: AIM_MS,
        detail: `p90 ${tell(all[Math.floor(0.9 * all.length)]!)}; ${stepsOf(passages)}`,
        limit:
          'round trips one after the other: two commits, both simulators and a look at the stand-in for Ray come before the POST',
        command: COMMAND,
      }),
    ];
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

/** The median of each step: they need not add up to that of the whole. */
function stepsOf(passages: readonly Passage[]): string {
  const step = (what: string, of: (passage: Passage) => number) => `${what} ${tell(median(passages.map(of)))}`;
  return [
    step('request to its commit', (one) => one.createdMs - one.askedMs),
    step('commit to its answer', (one) => one.answeredMs - one.createdMs),
    step('commit to reserved (woken, planned, SentinelNet, ledger)', (one) => one.reservedMs - one.createdMs),
    step('reserved to requesting (Finance)', (one) => one.requestingMs - one.reservedMs),
    step('requesting to POST (commit, a look at Ray)', (one) => one.postedMs - one.requestingMs),
  ].join(', ');
}

const tell = (ms: number) => `${ms.toFixed(1)} ms`;

class Bench {
  readonly #server: ServerProcess;
  readonly #ray: FakeRay;
  readonly #database: BenchDatabase;
  readonly #posted = new Map<string, number>();

  private constructor(server: ServerProcess, ray: FakeRay, database: BenchDatabase) {
    this.#server = server;
    this.#ray = ray;
    this.#database = database;
  }

  static async open(closers: (() => Promise<unknown>)[]): Promise<Bench> {
    const root = await mkdtemp(join(tmpdir(), 'merit-overhead-'));
    closers.push(() => rm(root, { recursive: true, force: true }));
    const postgres = await startBenchPostgres();
    closers.push(() => postgres.stop());
    const database = await postgres.database();
    closers.push(() => database.close());
    const sentinel = await startSentinelSimulator();
    closers.push(() => sentinel.close());
    const finance = await startFinanceSimulator({ journalPath: join(root, 'finance.jsonl') });
    closers.push(() => finance.close());
    const ray = await startFakeRay();
    closers.push(() => ray.close());
    ray.nodes = { n1: '0.0/1000.0 CPU\n0B/1000.00GiB memory' };
    const stateDir = join(root, 'state');
    await mkdir(stateDir);
    await writeFile(join(root, 'token'), ray.token);
    await writeFile(join(root, 'merit.yaml'), `signer:\n  keyFile: ${join(root, 'signer.pem')}\n`);
    const server = await startServerProcess({
      stateDir,
      env: {
        MERIT_NO_PYTHON: 'no Ray is needed here',
        MERIT_TENANT: TENANT,
        MERIT_CONFIG: join(root, 'merit.yaml'),
        MERIT_OBJECT_STORE: join(root, 'objects'),
        DATABASE_URL: database.urls.app,
        ENGINE_DATABASE_URL: database.urls.engine,
        MERIT_SENTINELNET_URL: sentinel.url,
        MERIT_FINANCE_URL: finance.url,
      },
    });
    closers.push(() => server.stop());
    const bench = new Bench(server, ray, database);
    bench.#watch();
    await bench.#call('PUT', '/v1/pools/ray', {
      apiVersion: 'merit/v1',
      kind: 'Pool',
      name: 'ray',
      provider: { kind: 'ray', config: { address: ray.address, tokenFile: join(root, 'token') } },
      flavours: [{ name: 'default', resource: 'cpu', capacity: 100, price: { currency: 'USD', perUnitHour: '0.01' } }],
      quotas: { lab: { default: 100 } },
    });
    const budget = { apiVersion: 'merit/v1', kind: 'Budget', division: 'lab', currency: 'USD', limit: '100.00' };
    await bench.#call('PUT', '/v1/budgets/lab', budget);
    return bench;
  }

  /** Submits a job, and lets it end once Ray was asked to run it. */
  async pass(signal: AbortSignal): Promise<Passage> {
    signal.throwIfAborted();
    const askedMs = now();
    const { id } = await this.#call<{ id: string }>('POST', '/v1/jobs', {
      name: 'overhead',
      division: 'lab',
      resources: { cpus: 1 },
      pools: ['ray'],
      lease: '5m',
      run: 'true',
    });
    const answeredMs = now();
    const key = `m-${id}-1`;
    const deadlineMs = now() + LIMIT_MS;
    while (!this.#posted.has(key)) {
      signal.throwIfAborted();
      assert(now() < deadlineMs, `job ${id} comes to Ray`);
      await sleep(POLL_MS);
    }
    const job = this.#ray.jobs.get(key)!;
    Object.assign(job, { status: 'SUCCEEDED', end_time: Date.now(), driver_exit_code: 0 });
    while ((await this.#call<{ state: string }>('GET', `/v1/jobs/${id}`)).state !== 'released') {
      signal.throwIfAborted();
      assert(now() < deadlineMs, `job ${id} ends`);
      await sleep(POLL_MS);
    }
    return { askedMs, answeredMs, ...(await this.#recorded(id)), postedMs: this.#posted.get(key)! };
  }

  /** By Postgres' clock: when the events of the transitions were written, just before their commit. */
  async #recorded(id: string): Promise<Pick<Passage, 'createdMs' | 'reservedMs' | 'requestingMs'>> {
    const rows = await this.#database.db.asEngine((tx) =>
      tx.query<{ type: string; ms: number }>(
        `select type, extract(epoch from recorded_at)::double precision * 1000 as ms from audit_events where tenant = $1 and subject = $2`,
        [TENANT, `booking/${id}`],
      ),
    );
    const at = new Map(rows.map(({ type, ms }) => [type, ms]));
    const of = (state: string) => {
      const ms = at.get(`booking.${state}`);
      assert(ms !== undefined, `booking ${id} was ${state}`);
      return ms;
    };
    return { createdMs: of('created'), reservedMs: of('reserved'), requestingMs: of('requesting') };
  }

  /** Notes when each submission came in. */
  #watch(): void {
    const { submissions } = this.#ray;
    const push = submissions.push.bind(submissions);
    submissions.push = (...asked) => {
      for (const one of asked) this.#posted.set(String(one.submission_id), now());
      return push(...asked);
    };
  }

  async #call<T>(method: string, path: string, body?: object): Promise<T> {
    const reply = await fetch(this.#server.url + path, {
      method,
      headers: {
        authorization: `Bearer ${this.#server.token}`,
        'content-type': 'application/json',
        ...(method === 'POST' ? { 'idempotency-key': randomUUID() } : {}),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await reply.text();
    assert(reply.ok, `${method} ${path} was answered ${reply.status}: ${text}`);
    return JSON.parse(text) as T;
  }
}

/** Milliseconds since 1970, with parts. */
function now(): number {
  return performance.timeOrigin + performance.now();
}
