import type { Clock } from '../../platform/clock.ts';
import { StaleLeader } from '../../platform/postgres.ts';
import type { Log } from '../../scheduler/apply/context.ts';
import type { LeaderLoop } from './engine.ts';

/** Between two sweeps of what has outlived its retention. */
const SWEEP_EVERY_MS = 60_000;
/** Rounds of a sweep, each a transaction of its own; the rest waits for the next one. */
const MAX_ROUNDS = 100;

/** Removes a bounded number of rows that have outlived their retention; returns how many: 0 ends the sweep. */
export type Sweep = (epoch: bigint, nowMs: number) => Promise<number>;

/** A loop of the leader that runs each sweep now and then; one that fails is told, and tried again with the next. */
export function sweepLoop(
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  sweeps: Readonly<Record<string, Sweep>>,
): LeaderLoop {
  return {
    name: 'sweeps',
    run: async (epoch, signal) => {
      while (!signal.aborted) {
        for (const [name, sweep] of Object.entries(sweeps)) {
          try {
            for (let round = 0; round < MAX_ROUNDS && !signal.aborted; round++) {
              if ((await sweep(epoch, clock.now())) === 0) break;
            }
          } catch (error) {
            if (error instanceof StaleLeader) throw error;
            log.warn({ sweep: name, error: String(error) }, 'what has outlived its retention cannot be removed');
          }
        }
        await clock.sleep(SWEEP_EVERY_MS, signal);
      }
    },
  };
}
