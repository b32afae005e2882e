// `npm run bench:score-memory`: two million reports stream through `merit score`. Prints the greatest resident memory of the process
// and the CPU time a report costs, by runs of 10⁴ to 2·10⁶ reports and by stretches of the longest run. The reports are made while they
// are sent: nothing is stored. Fails at 512 MiB, or where a report of the
// second million costs 25 % more than one of the first hundred thousand in the same run.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipedRun, seeded } from './piped-run.mjs';

const SIZES = [1, 10_000, 100_000, 1_000_000, 2_000_000];
const MAX_RSS_MIB = 512;
const MAX_GROWTH = 1.25;
const MODELS = 64;
const MALFORMED_EVERY = 200;
const DUPLICATE_EVERY = 1_000;
const AT_MS = Date.UTC(2026, 10, 23, 12);
const SPAN_MS = 8 * 86_400_000;

const SUITE = {
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'memory',
  metrics: {
    accuracy: { direction: 'higher', floor: 0, ceil: 1, valid: [0, 1], required: true },
    f1_macro: { direction: 'higher', floor: 0, ceil: 1 },
    loss: { direction: 'lower', scale: 4, floor: 3, ceil: 0 },
    latency_ms: { direction: 'lower', kind: 'quantile', quantile: 0.95, scale: 3, floor: 1000, ceil: 50 },
    tokens_out: { direction: 'lower', kind: 'quantile', quantile: 0.5, scale: 0, floor: 2000, ceil: 0 },
    solved: { direction: 'higher', kind: 'binary', floor: 0, ceil: 1 },
  },
};

function reportLine(id, random) {
  const at = new Date(AT_MS - Math.floor(random() ** 3 * SPAN_MS)).toISOString();
  const share = random();
  const metrics =
    `"accuracy":${share.toFixed(6)},"f1_macro":${(share * 0.95).toFixed(6)},"loss":${(3 * random()).toFixed(6)},` +
    `"latency_ms":${(20 / (0.02 + random())).toFixed(3)},"tokens_out":${Math.floor(2000 * random())},"solved":${random() < 0.7 ? 1 : 0},` +
    `"not_in_the_suite":${random().toFixed(9)}`;
  return (
    `{"schemaVersion":1,"reportId":"eval-${id.toString(36).padStart(12, '0')}","producer":"ci-eval-${id % 7}","model":"ranker-v${id % MODELS}",` +
    `"suite":"memory","observedAt":"${at}","sampleSize":${1 + (id % 512)},"metrics":{${metrics}},"labels":{"commit":"${'0123456789abcdef'.repeat(2)}",` +
    `"run":"https://ci.example.com/evaluations/ranker/${id}","dataset":"search-relevance-2026-11","slice":"all","host":"worker-${id % 97}.eval.example.com",` +
    `"note":"nightly evaluation of the candidate against the frozen set"}}\n`
  );
}

/** The i-th line: one in 200 is cut short, one in 1,000 repeats an earlier one. */
function lineAt(i) {
  const id = i % DUPLICATE_EVERY === DUPLICATE_EVERY - 1 ? i - 517 : i;
  const line = reportLine(id, seeded(id));
  return i % MALFORMED_EVERY === MALFORMED_EVERY - 3 ? `${line.slice(0, 200)}\n` : line;
}

/** One run of `merit score` over `count` reports from a pipe. */
function score(suite, count) {
  const args = ['score', '--suite', suite, '--at', new Date(AT_MS).toISOString()];
  return pipedRun(
    args,
    lineAt,
    count,
    SIZES.filter((size) => size > 1 && size <= count),
  );
}

/** What the corpus must come to: nothing may have been lost on the way. */
function check({ result: scores, told }, count) {
  let [accepted, quarantined, duplicates] = [0, 0, 0];
  for (let i = 0; i < count; i++) {
    if (i % MALFORMED_EVERY === MALFORMED_EVERY - 3) quarantined++;
    else if (i % DUPLICATE_EVERY === DUPLICATE_EVERY - 1) duplicates++;
    else accepted++;
  }
  const got = [scores.accepted, scores.quarantined, scores.duplicates, scores.conflicts, told];
  const want = [accepted, quarantined, duplicates, 0, quarantined];
  if (got.join() !== want.join()) throw new Error(`of ${count} lines: counted ${got}, expected ${want}`);
}

const folder = mkdtempSync(join(tmpdir(), 'merit-memory-'));
try {
  const suite = join(folder, 'suite.json');
  writeFileSync(suite, JSON.stringify(SUITE));
  const sample = Array.from({ length: 1000 }, (_, i) => lineAt(i).length).reduce((sum, length) => sum + length) / 1000;
  console.log(
    `lines of ${sample.toFixed(0)} B on average, ${MODELS} models, 0.5 % malformed, 0.1 % repeated; load ${loadavg()[0].toFixed(2)}`,
  );
  let idleMs = 0;
  const stretchCosts = [];
  let most = 0;
  for (const count of SIZES) {
    const run = await score(suite, count);
    check(run, count);
    if (count === 1) {
      idleMs = run.cpuMs;
      console.log(`start and end  ${idleMs.toFixed(0)} ms CPU, ${run.rssMib.toFixed(0)} MiB`);
      continue;
    }
    most = Math.max(most, run.rssMib);
    const cost = (1000 * (run.cpuMs - idleMs)) / count;
    console.log(
      `${String(count).padStart(9)} reports  ${run.rssMib.toFixed(0).padStart(4)} MiB at most  ${cost.toFixed(2).padStart(6)} µs CPU each  ${run.result.checksum.slice(0, 12)}`,
    );
    if (count !== SIZES.at(-1)) continue;
    let from = { lines: 0, cpuMs: idleMs };
    for (const to of run.stretches) {
      const each = (1000 * (to.cpuMs - from.cpuMs)) / (to.lines - from.lines);
      stretchCosts.push(each);
      console.log(`  of these ${from.lines} … ${to.lines}: ${each.toFixed(2)} µs CPU each`);
      from = to;
    }
  }
  // The first ten thousand pay for the compiler.
  const growth = stretchCosts.at(-1) / stretchCosts[1];
  console.log(
    `limit ${MAX_RSS_MIB} MiB: ${most.toFixed(0)}; growth within the longest run, limit ${MAX_GROWTH}×: ${growth.toFixed(2)}×; load ${loadavg()[0].toFixed(2)}`,
  );
  process.exitCode = most < MAX_RSS_MIB && growth <= MAX_GROWTH ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
