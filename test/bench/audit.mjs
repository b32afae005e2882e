// `npm run bench:audit`: a chain of a million events is written as a server exports it, and checked by `merit audit verify`. Prints the time by the
// clock, the CPU time and the greatest resident memory, for a tenth of it too. Fails above 60 s of CPU, above 512 MiB, or where the chain does not hold.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { needNode, ROOT } from '../../bin/launch.mjs';
import { TELL_USAGE, textOf } from './piped-run.mjs';

const EVENTS = Number(process.env.MERIT_AUDIT_EVENTS ?? 1_000_000);
const MAX_CPU_S = 60;
const MAX_RSS_MIB = 512;

async function node(args) {
  const startedAt = performance.now();
  const child = spawn(needNode(), ['--conditions=merit-source', `--import=${TELL_USAGE}`, ...args], {
    stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
  });
  const [out, usage, [code]] = await Promise.all([textOf(child.stdout), textOf(child.stdio[3]), once(child, 'exit')]);
  const { maxRSS, userCPUTime, systemCPUTime } = JSON.parse(usage);
  const seconds = (performance.now() - startedAt) / 1000;
  return { code, out, seconds, rssMib: maxRSS / 1024, cpuS: (userCPUTime + systemCPUTime) / 1e6 };
}

const folder = mkdtempSync(join(tmpdir(), 'merit-audit-'));
try {
  const [chain, roots] = [join(folder, 'chain.jsonl'), join(folder, 'roots.json')];
  let last;
  for (const events of [EVENTS / 10, EVENTS]) {
    const made = await node([join(ROOT, 'test/bench/audit-chain.ts'), String(events), chain, roots]);
    if (made.code !== 0) throw new Error('the chain could not be made');
    last = await node([join(ROOT, 'api/cli/main.ts'), 'audit', 'verify', chain, '--roots', roots, '-o', 'json']);
    const { verdict, summary } = JSON.parse(last.out);
    console.log(
      `${String(events).padStart(9)} events, ${(statSync(chain).size / 2 ** 20).toFixed(0)} MiB: ${verdict}; ${summary.events} events, ${summary.checkpoints} checkpoints; ` +
        `${last.seconds.toFixed(1)} s by the clock, ${last.cpuS.toFixed(1)} s CPU, ${last.rssMib.toFixed(0)} MiB at most; load ${loadavg()[0].toFixed(1)}`,
    );
    if (last.code !== 0 || summary.events !== events) throw new Error(`merit audit verify ended with ${last.code}`);
  }
  console.log(`limits ${MAX_CPU_S} s CPU, ${MAX_RSS_MIB} MiB`);
  process.exitCode = last.cpuS <= MAX_CPU_S && last.rssMib <= MAX_RSS_MIB ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
