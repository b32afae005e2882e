import { formatRfc3339 } from '../../core/rfc3339.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Tx } from '../../platform/postgres.ts';
import { ENGINE_ACTOR } from '../context.ts';
import type { SuiteState } from '../ingest/suite-state.sql.ts';
import { lockSubject } from '../registry/lock-subject.ts';
import { type FlippedTick, flippedTicks } from '../rules/review.ts';
import { PROMOTIONS_TOPIC } from './commit-decision.ts';
import type { SignedDecision } from './decision-record.ts';

/** Later decisions than this many are not looked at again; late data is at most 7 days old. */
const MAX_REVIEWED = 1000;

/** Raises one decision_review for each decision that late data would have flipped. The decision itself stands. */
export async function reviewDecisions(
  tx: Tx,
  clock: Clock,
  state: SuiteState,
  changedTicks: readonly number[],
  traceId: string,
): Promise<void> {
  if (changedTicks.length === 0) return;
  const { tenant, suite } = state;
  const rows = await tx.query<{ decision_hash: string; tick_ms: bigint; model: string; bytes: Buffer }>(
    `select d.decision_hash, d.tick_ms, d.model, d.bytes from decisions d
     where d.tenant = $1 and d.suite = $2 and d.suite_hash = $3 and d.tick_ms >= $4
       and not exists (select 1 from decision_reviews r where r.decision_hash = d.decision_hash)
     order by d.tick_ms desc limit $5`,
    [tenant, suite.name, suite.hash, Math.min(...changedTicks), MAX_REVIEWED],
  );
  for (const row of rows) {
    const { record } = JSON.parse(row.bytes.toString('utf8')) as SignedDecision;
    const scores = await tx.query<{ tick_ms: bigint; composite: number | null }>(
      'select tick_ms, composite from scores where tenant = $1 and suite = $2 and suite_hash = $3 and model = $4 and tick_ms = any($5::bigint[])',
      [tenant, suite.name, suite.hash, row.model, changedTicks],
    );
    const flipped = flippedTicks(record, new Map(scores.map((score) => [Number(score.tick_ms), score.composite])));
    if (flipped.length > 0) await raiseReview(tx, clock, state, row, flipped, traceId);
  }
}

async function raiseReview(
  tx: Tx,
  clock: Clock,
  state: SuiteState,
  decision: { readonly decision_hash: string; readonly tick_ms: bigint; readonly model: string },
  flipped: readonly FlippedTick[],
  traceId: string,
): Promise<void> {
  const { tenant, suite } = state;
  await tx.execute(
    'insert into decision_reviews (tenant, decision_hash, tick_ms, found) values ($1, $2, $3, $4) on conflict do nothing',
    [tenant, decision.decision_hash, decision.tick_ms, JSON.stringify(flipped)],
  );
  const subject = `suite/${suite.name}`;
  await lockSubject(tx, tenant, subject);
  const found = flipped.map((one) => ({ ...one }));
  const data = { decision: decision.decision_hash, model: decision.model, evidence: [decision.decision_hash], found };
  await appendAudit(tx, {
    tenant,
    subject,
    type: 'decision.review',
    at: formatRfc3339(clock.now()),
    actor: ENGINE_ACTOR,
    trace: traceId,
    data,
  });
  await tx.execute('insert into outbox (tenant, topic, key, body) values ($1, $2, $3, $4)', [
    tenant,
    PROMOTIONS_TOPIC,
    suite.name,
    JSON.stringify({ type: 'decision.review', ...data, trace: traceId }),
  ]);
}
