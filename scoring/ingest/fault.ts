import { OperatingError } from '../../core/operating-error.ts';
import { isDatabaseAway, StaleLeader } from '../../platform/postgres.ts';
import { StaleOwner } from './ownership.sql.ts';
import { LogAway } from './partition-feed.ts';
import { StalePosition } from './positions.sql.ts';
import { ReaderStuck } from './reader-thread.ts';
import { SuiteHeld } from './suite-state.sql.ts';

/**
 * SQLSTATE classes that speak of the data at hand: data exception, integrity constraint, raised by a function, program
 * limit. Everything else Postgres says (no disk, no memory, locks, time-outs, rights) is the world's fault, and no reason to
 * blame what was being handled.
 */
const DATA_CLASSES = new Set(['22', '23', 'P0', '54']);
const SQLSTATE = /^[0-9A-Z]{5}$/;

/** Another reader has gone on: what was in hand changed nothing, and what is ours is to be asked again. */
export function isSuperseded(error: unknown): boolean {
  return [StaleOwner, StalePosition, SuiteHeld].some((kind) => error instanceof kind);
}

/** Would the same input fail again in a healthy world? Only then it may be set aside, or its suite be left alone for a while. */
export function isInputFault(error: unknown): boolean {
  if (error instanceof OperatingError || error instanceof LogAway || error instanceof ReaderStuck) return false;
  if (error instanceof StaleLeader || isSuperseded(error)) return false;
  if (isDatabaseAway(error)) return false;
  const code = (error as { code?: unknown }).code;
  if (typeof code !== 'string' || !SQLSTATE.test(code)) return true;
  return DATA_CLASSES.has(code.slice(0, 2));
}
