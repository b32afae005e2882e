/** `node test/parts/have.ts`: gets into the cache what can be had without root; MERIT_PARTS names parts, with commas between, if not all are wanted. */
import { ALL } from './all.ts';
import type { Say } from './harness/part.ts';

const PASSING_EVERY_MS = 15_000;

const terminal = process.stderr.isTTY === true;
let passed = 0;
const say: Say = (line, passing = false) => {
  if (terminal) process.stderr.write(`\r\u001b[K${line}${passing ? '' : '\n'}`);
  else if (!passing || performance.now() - passed > PASSING_EVERY_MS) {
    if (passing) passed = performance.now();
    process.stderr.write(`${line}\n`);
  }
};

const wanted = process.env.MERIT_PARTS?.split(',').map((name) => name.trim());
for (const name of wanted ?? []) {
  if (ALL.some((part) => part.name === name)) continue;
  say(`MERIT_PARTS names ${name}, which is no part; there are ${ALL.map((part) => part.name).join(', ')}`);
  process.exit(2);
}
for (const part of ALL) {
  if (wanted !== undefined && !wanted.includes(part.name)) continue;
  try {
    await part.provide?.(say);
  } catch (error) {
    const { exitCode, message } = error as Error & { exitCode?: number };
    // An interrupt ends this; a part that cannot be had is skipped by its tests, or fails them.
    if (exitCode !== undefined) {
      say(`${part.name}: ${message}; the next run begins it anew`);
      process.exit(exitCode);
    }
    say(`No ${part.name}: ${message}`);
  }
}
