import { assert } from '../../core/assert.ts';
import { parseRfc3339 } from '../../core/rfc3339.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import { putEvidence } from '../../ledger/audit/evidence.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Tx } from '../../platform/postgres.ts';
import { ENGINE_ACTOR } from '../context.ts';
import { lockSubject } from '../registry/lock-subject.ts';
import { raiseRetrain } from '../retrain/raise-retrain.ts';
import { type SuiteLanes, statesOf } from '../rollout/suite-lanes.ts';
import type { TickOutcome } from '../rules/promotion.ts';
import { type SignedDecision, sealedDecision } from './decision-record.ts';
import { replaceWatches, setSeat } from './watches.sql.ts';

/** Promotions and demotions for downstream consumers. */
export const PROMOTIONS_TOPIC = 'merit.promotions';

export interface DecisionToCommit {
  /** Every version that is kept: the seat is of all of them. */
  readonly lanes: SuiteLanes;
  readonly tickMs: number;
  /** Of the version that decides, which the record names. */
  readonly outcome: TickOutcome;
  readonly signed: SignedDecision;
  /** The peer's answer, whole; undefined for a demotion. */
  readonly policyEvidence: object | undefined;
  readonly traceId: string;
}

/**
 * All that a decision is, in the caller's transaction: the record and its evidence, the seat, the alias, new watches, the
 * audit event, the retrain request and its candidate, the outbox. Returns the decision's hash.
 */
export async function commitDecision(tx: Tx, clock: Clock, given: DecisionToCommit): Promise<string> {
  const { lanes, tickMs, outcome, signed, traceId } = given;
  const { tenant, suite } = lanes.active;
  const { record } = signed;
  const sealed = sealedDecision(signed);
  if (given.policyEvidence !== undefined) await putEvidence(tx, tenant, given.policyEvidence);
  const hash = await putEvidence(tx, tenant, signed);
  assert(hash === sealed.hash, 'commitDecision: evidence is addressed by the hash of its RFC 8785 bytes');
  const subject = `suite/${suite.name}`;
  await lockSubject(tx, tenant, subject);
  const evidence = record.policy === null ? [hash] : [hash, record.policy.evidence];
  const event = await appendAudit(tx, {
    tenant,
    subject,
    type: `decision.${record.action}`,
    at: record.decidedAt,
    actor: ENGINE_ACTOR,
    trace: traceId,
    data: { model: record.model, tick: record.tick, decision: hash, evidence, incumbentBefore: record.incumbentBefore },
  });
  await tx.execute(
    `insert into decisions (decision_hash, tenant, suite, suite_hash, tick_ms, model, action, incumbent_before, bytes, audit_event_id, trace_id, decided_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
    [
      hash,
      tenant,
      suite.name,
      record.suiteHash,
      tickMs,
      record.model,
      record.action,
      record.incumbentBefore,
      sealed.bytes,
      event.id,
      traceId,
      new Date(parseRfc3339(record.decidedAt)!),
    ],
  );
  const candidates = outcome.challenges.map((watch) => watch.model);
  const retrain =
    record.action === 'promote'
      ? undefined
      : await raiseRetrain(tx, clock, {
          tenant,
          suite: suite.name,
          version: record.model,
          cause: { kind: 'demotion', decisionHash: hash, eventId: event.id },
          demotedTickMs: tickMs,
          requestedBy: ENGINE_ACTOR,
          traceId,
        });
  if (retrain?.newVersion !== undefined) candidates.push(retrain.newVersion);
  const read = { offsets: record.offsets, lines: record.lines };
  const incumbent = outcome.incumbent?.model ?? null;
  await replaceWatches(tx, clock, statesOf(lanes), { incumbent, candidates, read }, tickMs);
  await setSeat(tx, lanes.active, incumbent);
  await tx.execute('insert into outbox (tenant, topic, key, body) values ($1, $2, $3, $4)', [
    tenant,
    PROMOTIONS_TOPIC,
    suite.name,
    JSON.stringify({ type: `decision.${record.action}`, decision: hash, ...signed, trace: traceId }),
  ]);
  return hash;
}
