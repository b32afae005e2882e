import type { Database } from '../../platform/postgres.ts';
import { bookingStateLine, decisionStateLine, stateEndLine, stateHeaderLine } from './coverage.ts';

/** Rows read in one statement. */
const STATE_BATCH = 5_000;

/**
 * The lines of a state export (coverage.ts), of all tenants, read from bookings and decisions and never from the trail. In portions: a booking is as it was
 * when its portion was read, and a chain that is exported afterwards tells of all that led there.
 */
export async function* exportState(db: Pick<Database, 'asEngine'>, at: string): AsyncGenerator<string> {
  yield stateHeaderLine(at);
  let rows = 0;
  const bookings = inPortions<{ booking_id: string; tenant: string; state: string; version: bigint }>(
    db,
    `select booking_id, tenant, state, version from bookings where booking_id > $1 order by booking_id limit ${STATE_BATCH}`,
    (row) => row.booking_id,
  );
  for await (const row of bookings) {
    yield bookingStateLine(row.tenant, row.booking_id, row.state, Number(row.version));
    rows++;
  }
  const decisions = inPortions<{ decision_hash: string; tenant: string; audit_event_id: string }>(
    db,
    `select decision_hash, tenant, audit_event_id from decisions where decision_hash > $1 order by decision_hash limit ${STATE_BATCH}`,
    (row) => row.decision_hash,
  );
  for await (const row of decisions) {
    yield decisionStateLine(row.tenant, row.audit_event_id);
    rows++;
  }
  yield stateEndLine(rows);
}

/** All rows of a statement that gives STATE_BATCH of them behind a key. */
async function* inPortions<Row extends object>(
  db: Pick<Database, 'asEngine'>,
  sql: string,
  keyOf: (row: Row) => string,
): AsyncGenerator<Row> {
  for (let after = '', more = true; more; ) {
    const portion = await db.asEngine((tx) => tx.query<Row>(sql, [after]));
    yield* portion;
    const last = portion.at(-1);
    if (last !== undefined) after = keyOf(last);
    more = portion.length === STATE_BATCH;
  }
}
