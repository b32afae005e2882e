import { checkInvariants, type Violation } from '../../ledger/invariants.ts';
import type { Database } from '../../platform/postgres.ts';

/** What a test left broken in ledger and audit trail; run it after each test that moves bookings. Empty: nothing. */
export function ledgerLeaks(db: Pick<Database, 'asEngine'>): Promise<readonly Violation[]> {
  return db.asEngine(checkInvariants);
}
