import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Suite } from '../../core/suite.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import type { Tx } from '../../platform/postgres.ts';
import { lockSubject } from './lock-subject.ts';

/** Who asks, for the audit trail. */
export interface Requester {
  readonly tenant: string;
  readonly actor: string;
  readonly traceId: string;
  readonly nowMs: number;
}

export type AppliedSuite = { readonly kind: 'created' | 'activated' | 'unchanged'; readonly suiteHash: string };

/**
 * Makes this version of the suite the active one. Versions are content-addressed: applying an old one again brings it
 * back. The consumer takes the change up before its next report; challenges then start again. Throws RefusedInput while a
 * rollout of the suite runs.
 */
export async function applySuite(tx: Tx, by: Requester, suite: Suite): Promise<AppliedSuite> {
  const subject = `suite/${suite.name}`;
  await lockSubject(tx, by.tenant, subject);
  const rows = await tx.query<{ suite_hash: string; active: boolean }>(
    'select suite_hash, active from suites where tenant = $1 and suite = $2',
    [by.tenant, suite.name],
  );
  const known = rows.find((row) => row.suite_hash === suite.hash);
  if (known?.active === true) return { kind: 'unchanged', suiteHash: suite.hash };
  const rollouts = await tx.query<{ suite_hash: string }>(
    `select suite_hash from suite_rollouts where tenant = $1 and suite = $2 and state = 'running'`,
    [by.tenant, suite.name],
  );
  if (rollouts[0] !== undefined) throw new RefusedInput([rolloutRuns(rollouts[0].suite_hash)]);
  await tx.execute('update suites set active = false where tenant = $1 and suite = $2 and active', [
    by.tenant,
    suite.name,
  ]);
  if (known === undefined) {
    await tx.execute(
      'insert into suites (tenant, suite, suite_hash, document, active, applied_by) values ($1, $2, $3, $4, true, $5)',
      [by.tenant, suite.name, suite.hash, JSON.stringify(suite.document), by.actor],
    );
  } else {
    await tx.execute('update suites set active = true where tenant = $1 and suite = $2 and suite_hash = $3', [
      by.tenant,
      suite.name,
      suite.hash,
    ]);
  }
  await appendAudit(tx, {
    tenant: by.tenant,
    subject,
    type: 'suite.applied',
    at: formatRfc3339(by.nowMs),
    actor: by.actor,
    trace: by.traceId,
    data: { suite: suite.name, suiteHash: suite.hash, before: rows.find((row) => row.active)?.suite_hash ?? null },
  });
  return { kind: known === undefined ? 'created' : 'activated', suiteHash: suite.hash };
}

/** Why the active version is not changed beside a rollout. */
export function rolloutRuns(suiteHash: string): Refusal {
  const problem = `has a rollout of ${suiteHash.slice(0, 12)} that runs`;
  return refuse('rollout_runs', 'suite', problem, 'promote it or roll it back first');
}

export interface SuiteEntry {
  readonly suite: string;
  readonly suiteHash: string;
  readonly document: unknown;
  readonly appliedBy: string;
  readonly appliedAt: string;
  readonly incumbent: string | null;
  readonly candidates: readonly string[];
  readonly watermark: string | null;
  /** Ticks up to it are published; null: none yet. */
  readonly scoredTick: string | null;
}

interface SuiteRow {
  readonly suite: string;
  readonly suite_hash: string;
  readonly document: unknown;
  readonly applied_by: string;
  readonly applied_at: Date;
  readonly incumbent: string | null;
  readonly candidates: readonly string[] | null;
  readonly watermark_ms: bigint | null;
  readonly scored_tick_ms: bigint | null;
}

/** Longer lists are paged by name. */
export const MAX_LISTED = 500;

/** Active suites by name, after `afterName`. */
export async function listSuites(
  tx: Tx,
  tenant: string,
  limit = MAX_LISTED,
  afterName = '',
): Promise<readonly SuiteEntry[]> {
  const rows = await tx.query<SuiteRow>(`${SUITE_QUERY} and s.suite > $2 order by s.suite collate "C" limit $3`, [
    tenant,
    afterName,
    Math.min(limit, MAX_LISTED),
  ]);
  return rows.map(suiteEntry);
}

export async function getSuite(tx: Tx, tenant: string, name: string): Promise<SuiteEntry | undefined> {
  const rows = await tx.query<SuiteRow>(`${SUITE_QUERY} and s.suite = $2`, [tenant, name]);
  return rows[0] === undefined ? undefined : suiteEntry(rows[0]);
}

const SUITE_QUERY = `
  select s.suite, s.suite_hash, s.document, s.applied_by, s.applied_at, e.version as incumbent, t.watermark_ms, t.scored_tick_ms,
         (select array_agg(c.version order by c.version) from candidates c
          where c.tenant = s.tenant and c.suite = s.suite and c.state <> 'withdrawn' and c.version is distinct from e.version) as candidates
  from suites s left join suite_states t using (tenant, suite) left join seats e using (tenant, suite)
  where s.tenant = $1 and s.active`;

function suiteEntry(row: SuiteRow): SuiteEntry {
  return {
    suite: row.suite,
    suiteHash: row.suite_hash,
    document: row.document,
    appliedBy: row.applied_by,
    appliedAt: row.applied_at.toISOString(),
    incumbent: row.incumbent,
    candidates: row.candidates ?? [],
    watermark: row.watermark_ms === null ? null : formatRfc3339(Number(row.watermark_ms)),
    scoredTick: row.scored_tick_ms === null ? null : formatRfc3339(Number(row.scored_tick_ms)),
  };
}
