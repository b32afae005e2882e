import type { Clock } from '../../platform/clock.ts';
import type { Tx } from '../../platform/postgres.ts';
import { isInputFault } from '../ingest/fault.ts';
import type { SuiteLanes } from './suite-lanes.ts';
import { endNext, rollBackByEngine } from './transitions.ts';

/**
 * Runs work for a suite with the new version beside the active one; where that fails by what is computed, the new version is
 * rolled back in the same transaction and the work is done without it. If it fails again, the fault was not the new version's:
 * the error reaches the caller, whose own rollback brings the new version back.
 */
export async function withoutFaulty<T>(
  tx: Tx,
  clock: Clock,
  lanes: SuiteLanes,
  work: (lanes: SuiteLanes) => Promise<T>,
): Promise<T> {
  const { active, next } = lanes;
  if (next === null) return work(lanes);
  await tx.query('savepoint beside');
  try {
    const done = await work(lanes);
    await tx.query('release savepoint beside');
    return done;
  } catch (error) {
    if (!isInputFault(error)) throw error;
    await tx.query('rollback to savepoint beside');
    await rollBackByEngine(tx, clock, active, next.rolloutId, `it cannot be computed: ${String(error)}`);
    await endNext(tx, active, next);
    return work({ active, next: null });
  }
}
