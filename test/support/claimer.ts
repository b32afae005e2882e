/** Claims the state folder it is told, at the millisecond it is told, and says whether it has it. Ends with its parent. */
import { OperatingError } from '../../core/operating-error.ts';
import { claimServer } from '../../platform/processes.ts';

export interface Claim {
  readonly stateDir: string;
  readonly atMs: number;
}

process.on('message', ({ stateDir, atMs }: Claim) => {
  while (Date.now() < atMs);
  process.send?.(claims(stateDir));
});
process.on('disconnect', () => process.exit(0));
process.send?.('ready');

function claims(stateDir: string): boolean {
  try {
    claimServer(stateDir);
    return true;
  } catch (error) {
    if (error instanceof OperatingError && error.code === 'conflict') return false;
    throw error;
  }
}
