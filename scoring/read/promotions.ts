import type { Tx } from '../../platform/postgres.ts';
import type { SignedDecision } from '../promotion/decision-record.ts';
import { MAX_LISTED } from '../registry/suites.ts';

/** A decision with its signature, as stored: `hash` is the SHA-256 of the RFC 8785 form of `signed`. */
export interface StoredDecision {
  readonly hash: string;
  readonly signed: SignedDecision;
  readonly auditEventId: string;
  readonly traceId: string;
  /** Late data would have flipped it: the ticks and their composites then and now. */
  readonly review: unknown;
}

export interface DecisionFilter {
  readonly suite?: string;
  readonly model?: string;
  readonly limit?: number;
  /** Older than this decision (its hash). */
  readonly before?: string;
}

/** Newest first. */
export async function listDecisions(
  tx: Tx,
  tenant: string,
  filter: DecisionFilter = {},
): Promise<readonly StoredDecision[]> {
  const rows = await tx.query<DecisionRow>(
    `${DECISION_QUERY} and ($2::text is null or d.suite = $2) and ($3::text is null or d.model = $3)
       and ($4::text is null or (d.decided_at, d.tick_ms, d.decision_hash) < (select b.decided_at, b.tick_ms, b.decision_hash from decisions b where b.tenant = $1 and b.decision_hash = $4))
     order by d.decided_at desc, d.tick_ms desc, d.decision_hash desc limit $5`,
    [
      tenant,
      filter.suite ?? null,
      filter.model ?? null,
      filter.before ?? null,
      Math.min(filter.limit ?? MAX_LISTED, MAX_LISTED),
    ],
  );
  return rows.map(storedDecision);
}

export async function getDecision(tx: Tx, tenant: string, hash: string): Promise<StoredDecision | undefined> {
  const rows = await tx.query<DecisionRow>(`${DECISION_QUERY} and d.decision_hash = $2`, [tenant, hash]);
  return rows[0] === undefined ? undefined : storedDecision(rows[0]);
}

const DECISION_QUERY = `
  select d.decision_hash, d.bytes, d.audit_event_id, d.trace_id, r.found
  from decisions d left join decision_reviews r using (decision_hash) where d.tenant = $1`;

interface DecisionRow {
  readonly decision_hash: string;
  readonly bytes: Buffer;
  readonly audit_event_id: string;
  readonly trace_id: string;
  readonly found: unknown;
}

function storedDecision(row: DecisionRow): StoredDecision {
  return {
    hash: row.decision_hash,
    signed: JSON.parse(row.bytes.toString('utf8')) as SignedDecision,
    auditEventId: row.audit_event_id,
    traceId: row.trace_id,
    review: row.found,
  };
}
