// `npm run bench -- launcher`: how long the `merit` launcher takes to answer, as a ratio to the Node that starts it doing nothing. Interleaved, one
// process after another; plain JavaScript, so that the starting Node can be any from 20 on.
import { spawnSync } from 'node:child_process';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';

const ROUNDS = 21;
const FLOOR = 3;
const AIM = 2;
const MERIT = fileURLToPath(new URL('../../bin/merit.mjs', import.meta.url));
const node = process.env.MERIT_BENCH_NODE ?? 'node';

function once(args) {
  const from = process.hrtime.bigint();
  const ran = spawnSync(node, args, { stdio: 'ignore' });
  if (ran.status !== 0) throw new Error(`${node} ${args.join(' ')} ended with ${ran.status}`);
  return Number(process.hrtime.bigint() - from) / 1e6;
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

const rows = { 'node -e 0': ['-e', '0'], 'merit --version': [MERIT, '--version'], 'merit --help': [MERIT, '--help'] };
const times = Object.fromEntries(Object.keys(rows).map((name) => [name, []]));
for (let round = 0; round <= ROUNDS; round++) {
  for (const [name, args] of Object.entries(rows)) {
    const ms = once(args);
    if (round > 0) times[name].push(ms);
  }
}
const base = median(times['node -e 0']);
const figures = Object.entries(times).map(([name, values]) => ({
  name,
  ms: median(values),
  ratio: median(values) / base,
}));
const ratio = median(times['merit --help']) / base;
if (process.argv.includes('--json')) {
  const detail = figures.map(({ name, ms }) => `${name} ${ms.toFixed(1)} ms`).join(', ');
  console.log(JSON.stringify({ ratio, floor: FLOOR, aim: AIM, detail: `${detail}; ${ROUNDS} rounds` }));
} else {
  for (const one of figures) {
    console.log(`${one.name.padEnd(16)} ${one.ms.toFixed(1).padStart(7)} ms  ${one.ratio.toFixed(2)}×`);
  }
  console.log(`floor ${FLOOR}×, aim ${AIM}×; load ${loadavg()[0].toFixed(2)}; ${ROUNDS} rounds, medians`);
  process.exitCode = ratio <= FLOOR ? 0 : 1;
}
