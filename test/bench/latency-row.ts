import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { openPostgresEventLog } from '../../platform/event-log-postgres.ts';
import { appendReports } from '../../scoring/ingest/pack-reports.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { CORPUS_START_MS, MODEL_NAMES, makeCorpus } from './corpus.ts';
import { type BenchDatabase, startBenchPostgres, TENANT } from './database.ts';
import { type Row, row } from './harness.ts';
import { Caller, openLoop, quantile, saturation } from './open-loop.ts';

/**
 * POST /v1/scores:compute at half of its saturation, once with the windows at rest and once while the consumer, in the same process, commits
 * all the while. Postgres, server and generator share the machine.
 */

const FLOOR_MS = 20;
const AIM_MS = 5;
const REPORTS = 20_000;
const SPAN_MS = 6 * 3_600_000;
const WARM_UP_MS = 3_000;
const SATURATE_MS = 5_000;
const OPEN_MS = 15_000;
const CALLERS = 16;
const COMMIT_EVERY_MS = 200;
const REPORTS_A_COMMIT = 50;
const POLL_MS = 200;
const CONSUME_LIMIT_MS = 120_000;
const COMMAND = 'npm run bench -- latency';
const SERVER = fileURLToPath(new URL('./score-compute-server.ts', import.meta.url));
const SOURCE = { tenant: TENANT, producer: undefined, traceparent: `00-${'1'.repeat(32)}-${'1'.repeat(16)}-01` };

export async function latencyRows(): Promise<readonly Row[]> {
  const postgres = await startBenchPostgres();
  try {
    const base = await postgres.database();
    const log = openPostgresEventLog({ db: base.db, appendAs: 'engine' });
    const server = startServer(base);
    try {
      return await measured(base, log, server, () => ({
        server: cpuSecondsOf(server),
        postgres: postgres.cpuSeconds(),
      }));
    } finally {
      await stopServer(server);
      await log.close();
      await base.close();
    }
  } finally {
    await postgres.stop();
  }
}

type Log = ReturnType<typeof openPostgresEventLog>;
/** CPU seconds so far of the server and of Postgres. */
type Spent = () => { readonly server: number; readonly postgres: number };

async function measured(base: BenchDatabase, log: Log, server: ChildProcess, spent: Spent): Promise<readonly Row[]> {
  const [url] = (await once(server, 'message')) as [string];
  await appendReports(log, makeCorpus({ reports: REPORTS, spanMs: SPAN_MS }).batches, SOURCE);
  await consumed(base, log);
  const caller = new Caller(`${url}/v1/scores:compute`);
  const reports = new Reports();
  const call = () => caller.post(reports.next());
  try {
    await saturation(call, CALLERS, WARM_UP_MS);
    const atRest = await rowOf('windows at rest', call, spent);
    const stop = new AbortController();
    const committing = commitAll(log, reports, stop.signal);
    const moving = await rowOf(`${REPORTS_A_COMMIT} reports committed every ${COMMIT_EVERY_MS} ms`, call, spent);
    stop.abort();
    await committing;
    return [atRest, moving];
  } finally {
    caller.close();
  }
}

async function rowOf(state: string, call: () => Promise<void>, spent: Spent): Promise<Row> {
  const most = await saturation(call, CALLERS, SATURATE_MS);
  const before = spent();
  const latencies = await openLoop(call, most / 2, OPEN_MS);
  const after = spent();
  const cost = (part: 'server' | 'postgres') => ((after[part] - before[part]) * 1000) / latencies.length;
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map((share) => quantile(latencies, share)) as [number, number, number];
  return row({
    what: `scores:compute p95 at half of saturation, ${state}`,
    value: p95,
    unit: 'ms',
    sense: 'at most',
    floor: FLOOR_MS,
    aim: AIM_MS,
    detail: `saturation ${most.toFixed(0)}/s; ${latencies.length} calls at a constant ${(most / 2).toFixed(0)}/s: p50 ${p50.toFixed(1)} ms, p95 ${p95.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms; CPU a call: server ${cost('server').toFixed(2)} ms, Postgres ${cost('postgres').toFixed(2)} ms`,
    limit: 'generator, server and Postgres share the cores, and what else runs on them waits in the same queue',
    command: COMMAND,
  });
}

function cpuSecondsOf({ pid }: ChildProcess): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[USER_TICKS]) + Number(fields[SYSTEM_TICKS])) * TICK_SECONDS;
}

/** Of /proc/PID/stat behind the command's name, and the unit in which it counts. */
const USER_TICKS = 11;
const SYSTEM_TICKS = 12;
const TICK_SECONDS = 0.01;

/** Reports of the latest moment that was sent, each with an id of its own. */
class Reports {
  #count = 0;
  #atMs = CORPUS_START_MS + SPAN_MS;

  pass(ms: number): void {
    this.#atMs += ms;
  }

  next(): string {
    return sampleReport(this.#count++, this.#atMs);
  }
}

/** Report `i` of the load. */
export function sampleReport(i: number, atMs = CORPUS_START_MS + SPAN_MS): string {
  const value = (i * 0.618034) % 1;
  return JSON.stringify({
    schemaVersion: 1,
    reportId: `bench-${i}`,
    producer: 'bench',
    model: MODEL_NAMES[i % MODEL_NAMES.length],
    suite: 'bench',
    observedAt: new Date(atMs).toISOString(),
    sampleSize: 64,
    metrics: {
      accuracy: value,
      calibration_error: value / 10,
      f1_macro: value,
      latency_ms: 50 + 100 * value,
      loss: value,
      ndcg_at_10: value,
      solved: i % 2,
      tokens_out: i % 900,
    },
  });
}

async function commitAll(log: Log, reports: Reports, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    reports.pass(COMMIT_EVERY_MS);
    const lines = Array.from({ length: REPORTS_A_COMMIT }, () => `${reports.next()}\n`);
    await appendReports(log, [Buffer.from(lines.join(''))], SOURCE);
    await sleep(COMMIT_EVERY_MS);
  }
}

/** All that was appended is read and scored. */
async function consumed(base: BenchDatabase, log: Log): Promise<void> {
  const { nextOffset } = await log.end(REPORTS_TOPIC, 0);
  const deadlineMs = performance.now() + CONSUME_LIMIT_MS;
  while (performance.now() < deadlineMs) {
    const rows = await base.db.asEngine((tx) =>
      tx.query<{ next_offset: bigint }>('select next_offset from consumer_offsets'),
    );
    if (rows[0]?.next_offset === nextOffset) return;
    await sleep(POLL_MS);
  }
  throw new Error('the consumer did not come to the end of the log');
}

export function startServer({ epoch, urls }: BenchDatabase): ChildProcess {
  const options = { appUrl: urls.app, engineUrl: urls.engine, epoch: String(epoch) };
  return fork(SERVER, [JSON.stringify(options)], { execArgv: ['--conditions=merit-source'] });
}

export async function stopServer(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null) return;
  const ended = once(server, 'exit');
  server.send('stop');
  await ended;
}
