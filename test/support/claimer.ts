/** Claims the state folder it is told, at the millisecond it is told, and says whether it has it. Ends with its parent. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { OperatingError } from '../../core/operating-error.ts';
import { claimServer } from '../../platform/processes.ts';

export interface Claim {
  readonly stateDir: string;
  readonly atMs: number;
  /** Claims it this often and gives it back each time, and says how often it `met` another that had it too. */
  readonly times?: number;
}

process.on('message', ({ stateDir, atMs, times }: Claim) => {
  while (Date.now() < atMs);
  process.send?.(times === undefined ? claimed(stateDir) !== undefined : overAndOver(stateDir, times));
});
process.on('disconnect', () => process.exit(0));
process.send?.('ready');

function claimed(stateDir: string): { release(): void } | undefined {
  try {
    return claimServer(stateDir);
  } catch (error) {
    if (error instanceof OperatingError && error.code === 'conflict') return undefined;
    throw error;
  }
}

function overAndOver(stateDir: string, times: number): { had: number; met: number } {
  const inside = join(stateDir, 'inside');
  let met = 0;
  for (let had = 0; had < times; ) {
    const claim = claimed(stateDir);
    if (claim === undefined) continue;
    try {
      writeFileSync(inside, '', { flag: 'wx' });
      rmSync(inside);
    } catch {
      met++;
    }
    claim.release();
    had++;
  }
  return { had: times, met };
}
