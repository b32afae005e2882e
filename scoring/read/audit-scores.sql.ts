import type { Tx } from '../../platform/postgres.ts';
import { suiteOf } from '../ingest/suite-state.sql.ts';
import { auditMetrics } from './audit-metrics.sql.ts';
import { auditWholes } from './audit-wholes.sql.ts';

/** A published number that what is stored beneath it does not give. */
export interface WrongNumber {
  readonly model: string;
  readonly tickMs: number;
  /** Null: the composite's. */
  readonly window: string | null;
  /** Null: the window's own. */
  readonly metric: string | null;
  readonly statistic:
    | 'n'
    | 'weight'
    | 'mean'
    | 'variance'
    | 'min'
    | 'max'
    | 'p50'
    | 'p95'
    | 'score'
    | 'lower'
    | 'upper'
    | 'rank';
  readonly published: number | null;
  readonly recomputed: number | null;
}

export interface ScoreAudit {
  /** (model, tick, window, metric) whose panes are still kept. */
  readonly checked: number;
  /** At most MAX_WRONG of them. */
  readonly wrong: readonly WrongNumber[];
}

export const MAX_WRONG = 1_000;

/** What both audits look at: published ticks of one version of a suite. */
export interface AuditedTicks {
  readonly tenant: string;
  readonly suite: ReturnType<typeof suiteOf>;
  readonly watermarkMs: number;
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * Audits the published ticks of the active version of a suite between two instants, in Postgres alone: from the panes to every
 * metric's statistics and score, from those to windows, composites and ranks. It shares no arithmetic with the consumer, so that a
 * fault in one shows. Of a metric's interval only that its ends enclose the score; what follows from the ends is recomputed.
 */
export async function auditScores(
  tx: Tx,
  tenant: string,
  suite: string,
  fromMs: number,
  toMs: number,
): Promise<ScoreAudit> {
  const heads = await tx.query<{ suite_hash: string; document: unknown; watermark_ms: bigint | null }>(
    `select s.suite_hash, s.document, t.watermark_ms from suites s left join suite_states t using (tenant, suite)
     where s.tenant = $1 and s.suite = $2 and s.active`,
    [tenant, suite],
  );
  const head = heads[0];
  if (head === undefined || head.watermark_ms === null) return { checked: 0, wrong: [] };
  const watermarkMs = Number(head.watermark_ms);
  const ticks = { tenant, suite: suiteOf(head.suite_hash, head.document), watermarkMs, fromMs, toMs };
  const metrics = await auditMetrics(tx, ticks);
  const wholes = await auditWholes(tx, ticks);
  return { checked: metrics.checked, wrong: [...metrics.wrong, ...wholes].slice(0, MAX_WRONG) };
}
