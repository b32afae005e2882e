import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { openPostgresEventLog } from '../../platform/event-log-postgres.ts';
import { appendReports } from '../../scoring/ingest/pack-reports.ts';
import { CORPUS_START_MS, MODEL_NAMES, makeCorpus } from './corpus.ts';
import { startBenchPostgres, TENANT } from './database.ts';

/**
 * Latency of POST /v1/scores:compute under open-loop load: calls come at half of saturation whether or not earlier ones were
 * answered, and each one's time runs from when it should have come. Once with all windows at rest, once while the consumer, in the
 * same process, commits all the while. Postgres, server and callers share the machine.
 */

const REPORTS = 20_000;
const SPAN_MS = 6 * 3_600_000;
const SATURATE_MS = 6_000;
const OPEN_MS = 15_000;
const CALLERS = 16;
/** Of the second run: a message of reports this often, so many in it. */
const COMMIT_EVERY_MS = 200;
const REPORTS_A_COMMIT = 50;
const FLOOR_MS = 20;
const AIM_MS = 5;
const CHILD = fileURLToPath(new URL('./score-compute-server.ts', import.meta.url));

const postgres = await startBenchPostgres();
const base = await postgres.database();
const log = openPostgresEventLog({ db: base.db, appendAs: 'engine' });
const source = { tenant: TENANT, producer: undefined, traceparent: `00-${'1'.repeat(32)}-${'1'.repeat(16)}-01` };
const { batches } = makeCorpus({ reports: REPORTS, spanMs: SPAN_MS });
for (const batch of batches) await appendReports(log, [batch], source);

const child = fork(
  CHILD,
  [JSON.stringify({ appUrl: base.urls.app, engineUrl: base.urls.engine, epoch: String(base.epoch) })],
  {
    execArgv: ['--conditions=merit-source'],
  },
);
const [url] = (await once(child, 'message')) as [string];
const agent = new Agent({ keepAlive: true, maxSockets: 256 });
await consumed();

let serial = 0;
let atMs = CORPUS_START_MS + SPAN_MS;
function report(): object {
  const i = serial++;
  const value = (i * 0.618034) % 1;
  return {
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
  };
}

async function call(): Promise<void> {
  const body = JSON.stringify(report());
  const sent = request(`${url}/v1/scores:compute`, {
    method: 'POST',
    agent,
    headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
  });
  sent.end(body);
  const [response] = (await once(sent, 'response')) as [import('node:http').IncomingMessage];
  response.resume();
  await once(response, 'end');
  if (response.statusCode !== 200) throw new Error(`answered ${response.statusCode}`);
}

/** All that was appended is read and scored. */
async function consumed(): Promise<void> {
  for (;;) {
    const { nextOffset } = await log.end('merit.reports', 0);
    const rows = await base.db.asEngine((tx) =>
      tx.query<{ next_offset: bigint }>('select next_offset from consumer_offsets'),
    );
    if (rows[0]?.next_offset === nextOffset) return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Calls a second, as many callers as it takes, each waiting for its answer. */
async function saturate(): Promise<number> {
  const endMs = performance.now() + SATURATE_MS;
  let calls = 0;
  const caller = async () => {
    while (performance.now() < endMs) {
      await call();
      calls++;
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
  return (calls * 1000) / SATURATE_MS;
}

/** Latencies of calls that come at random times, at `rate` a second on average. */
async function openLoop(rate: number): Promise<Float64Array> {
  const latencies: number[] = [];
  const pending: Promise<void>[] = [];
  const startMs = performance.now();
  let dueMs = startMs;
  while (dueMs < startMs + OPEN_MS) {
    dueMs += (-Math.log(1 - random()) * 1000) / rate;
    const waitMs = dueMs - performance.now();
    if (waitMs > 1) await new Promise((resolve) => setTimeout(resolve, waitMs));
    const due = dueMs;
    pending.push(call().then(() => void latencies.push(performance.now() - due)));
  }
  await Promise.all(pending);
  return Float64Array.from(latencies).sort();
}

let seed = 7;
function random(): number {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 4294967296;
}

/** CPU seconds of the server and of Postgres so far. */
function cpuSeconds(): { readonly server: number; readonly postgres: number } {
  const stat = readFileSync(`/proc/${child.pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { server: (Number(fields[11]) + Number(fields[12])) / 100, postgres: postgres.cpuSeconds() };
}

/** Saturation, latencies at half of it, and what a call costs; returns the p95. */
async function measure(what: string): Promise<number> {
  const saturation = await saturate();
  const before = cpuSeconds();
  const latencies = await openLoop(saturation / 2);
  const after = cpuSeconds();
  const cost = (part: 'server' | 'postgres') => (((after[part] - before[part]) * 1000) / latencies.length).toFixed(2);
  const at = (q: number) => latencies[Math.min(latencies.length - 1, Math.floor(q * latencies.length))]!;
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map(at);
  const load = loadavg()[0]!.toFixed(1);
  console.log(
    `${what}: saturation ${saturation.toFixed(0)}/s; at half of it ${latencies.length} calls, p50 ${p50!.toFixed(1)} ms, p95 ${p95!.toFixed(1)} ms, p99 ${p99!.toFixed(1)} ms (floor p95 ${FLOOR_MS}, aim ${AIM_MS}); CPU a call: server ${cost('server')} ms, Postgres ${cost('postgres')} ms; load ${load}`,
  );
  return p95!;
}

await saturate();
const rest = await measure('windows at rest');

let committing = true;
const commits = (async () => {
  while (committing) {
    atMs += COMMIT_EVERY_MS;
    const lines = Array.from({ length: REPORTS_A_COMMIT }, () => `${JSON.stringify(report())}\n`);
    await appendReports(log, [Buffer.from(lines.join(''))], source);
    await new Promise((resolve) => setTimeout(resolve, COMMIT_EVERY_MS));
  }
})();
const moving = await measure(`${REPORTS_A_COMMIT} reports committed every ${COMMIT_EVERY_MS} ms`);
committing = false;
await commits;

child.send('stop');
await once(child, 'exit');
agent.destroy();
await log.close();
await base.close();
await postgres.stop();
if (Math.max(rest, moving) > FLOOR_MS) process.exitCode = 1;
