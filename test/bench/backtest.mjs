// `npm run bench:backtest`: archives of 10⁴, 10⁵ and 10⁶ reports, all at 10,000 a day, through `merit backtest`, and the longest once more
// against another rule. Prints the CPU time a report costs by runs and by stretches of the longest run, and the greatest resident
// memory. The reports are made while they are sent: nothing is stored. Fails where a report of the last hundred thousand costs 25 % more than
// one of the third (by then the windows and the 7 days behind them are full).
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipedRun, seeded } from './piped-run.mjs';

const SIZES = [1, 10_000, 100_000, 1_000_000];
const STRETCH = 100_000;
const MAX_GROWTH = 1.25;
const MODELS = 16;
const START_MS = Date.UTC(2026, 0, 5);
const STEP_MS = 86_400_000 / 10_000;
const LATE_EVERY = 100;
const MOST_LATE_MS = 6 * 3_600_000;
/** How long a model keeps its quality. */
const SEASON = 50_000;

const SUITE = {
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'backtest',
  metrics: {
    accuracy: { direction: 'higher', floor: 0, ceil: 1, valid: [0, 1], required: true },
    latency_ms: {
      direction: 'lower',
      kind: 'quantile',
      quantile: 0.95,
      scale: 3,
      floor: 1000,
      ceil: 50,
      guardrail: { max: 900 },
    },
    solved: { direction: 'higher', kind: 'binary', floor: 0, ceil: 1 },
  },
  promotion: { promoteAbove: 0.7, demoteBelow: 0.6 },
};

function lineAt(i) {
  const random = seeded(i);
  const model = i % MODELS;
  const quality = 0.45 + 0.4 * seeded(model * 7919 + Math.floor(i / SEASON))();
  const late = i % LATE_EVERY === LATE_EVERY - 1 ? Math.floor(random() * MOST_LATE_MS) : 0;
  const at = new Date(START_MS + Math.floor(i * STEP_MS) - late).toISOString();
  const accuracy = Math.min(1, Math.max(0, quality + 0.1 * (random() - 0.5))).toFixed(6);
  const metrics = `"accuracy":${accuracy},"latency_ms":${(100 + 300 * random()).toFixed(3)},"solved":${quality.toFixed(4)}`;
  return (
    `{"schemaVersion":1,"reportId":"r${i}","producer":"ci-${i % 7}","model":"ranker-v${model}","suite":"backtest","observedAt":"${at}",` +
    `"sampleSize":${1 + (i % 512)},"metrics":{${metrics}},"labels":{"commit":"${'0123456789abcdef'.repeat(2)}"}}\n`
  );
}

const folder = mkdtempSync(join(tmpdir(), 'merit-bench-backtest-'));
try {
  const suite = join(folder, 'suite.json');
  writeFileSync(suite, JSON.stringify(SUITE));
  console.log(`${MODELS} models, 3 metrics, 3 windows, ticks of 15 min, 1 % late; load ${loadavg()[0].toFixed(2)}`);
  let idleMs = 0;
  const costs = [];
  for (const count of SIZES) {
    const longest = count === SIZES.at(-1);
    const marks = longest ? Array.from({ length: count / STRETCH }, (_, i) => (i + 1) * STRETCH) : [];
    const run = await pipedRun(['backtest', '--suite', suite], lineAt, count, marks);
    const { replayed, lateArchived, late, ticks, decisions, checksum } = run.result;
    if (replayed !== count || lateArchived !== 0) throw new Error(`of ${count} reports ${replayed} were replayed`);
    if (count === 1) {
      idleMs = run.cpuMs;
      console.log(`start and end  ${idleMs.toFixed(0)} ms CPU, ${run.rssMib.toFixed(0)} MiB`);
      continue;
    }
    const cost = (1000 * (run.cpuMs - idleMs)) / count;
    console.log(
      `${String(count).padStart(9)} reports  ${run.rssMib.toFixed(0).padStart(4)} MiB at most  ${cost.toFixed(1).padStart(6)} µs CPU each  ` +
        `${ticks} ticks, ${late} late, ${decisions.length} decisions  ${checksum.slice(0, 12)}`,
    );
    let from = { lines: 0, cpuMs: idleMs };
    for (const to of run.stretches) {
      const each = (1000 * (to.cpuMs - from.cpuMs)) / (to.lines - from.lines);
      costs.push(each);
      console.log(`  of these ${from.lines} … ${to.lines}: ${each.toFixed(1)} µs CPU each`);
      from = to;
    }
  }
  const both = await pipedRun(
    ['backtest', '--suite', suite, '--promotion', 'promoteAbove=0.75'],
    lineAt,
    SIZES.at(-2),
    [],
  );
  console.log(
    `${SIZES.at(-2)} reports against another rule: ${both.rssMib.toFixed(0)} MiB at most, ` +
      `${((1000 * (both.cpuMs - idleMs)) / SIZES.at(-2)).toFixed(1)} µs CPU each, ${both.result.diff.length} differences`,
  );
  const growth = costs.at(-1) / costs[2];
  console.log(
    `growth from the third to the last stretch, limit ${MAX_GROWTH}×: ${growth.toFixed(2)}×; load ${loadavg()[0].toFixed(2)}`,
  );
  process.exitCode = growth <= MAX_GROWTH ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
