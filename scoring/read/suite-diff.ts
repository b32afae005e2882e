import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Tx } from '../../platform/postgres.ts';
import { loadSuites } from '../ingest/suite-state.sql.ts';
import { getRollout, type RolloutEntry } from '../registry/rollouts.ts';
import { MAX_LISTED } from '../registry/suites.ts';
import { nextLane } from '../rollout/suite-lanes.ts';
import { compareText } from '../rules/pane-table.ts';
import type { ModelStatus, PublishedModel } from '../rules/published.ts';
import { inShare, lastCommonTick } from '../rules/rollout.ts';

/** A model under one version; each version ranks all models by its own numbers. */
export interface DiffScore {
  readonly composite: number | null;
  readonly lower: number | null;
  readonly upper: number | null;
  readonly rank: number | null;
  readonly status: ModelStatus;
}

export interface DiffModel {
  readonly model: string;
  readonly decidedBy: 'active' | 'next';
  /** null: the version has no report of it in any window. */
  readonly active: DiffScore | null;
  readonly next: DiffScore | null;
  /** next − active; a member is null where one of the two is. */
  readonly difference: Readonly<Record<'composite' | 'lower' | 'upper' | 'rank', number | null>>;
}

/** A decision of one version that the other did not come to at that tick. */
export interface DiffDecision {
  readonly tick: string;
  readonly model: string;
  readonly action: 'promote' | 'demote';
  readonly by: 'active' | 'next';
  /** Its hash; null: it would have been made, if this version had decided for the model. */
  readonly decision: string | null;
  readonly incumbentBefore: string | null;
}

export interface SuiteDiff {
  readonly suite: string;
  readonly active: string;
  readonly next: string;
  /** The last final tick that both have scored; null: none yet. */
  readonly at: string | null;
  readonly rollout: Omit<RolloutEntry, 'document'>;
  readonly models: readonly DiffModel[];
  /** Since the rollout began, newest first. */
  readonly decisions: readonly DiffDecision[];
}

/** The two versions of a suite side by side; undefined: no rollout of it runs. */
export async function suiteDiff(tx: Tx, tenant: string, name: string): Promise<SuiteDiff | undefined> {
  const entry = await getRollout(tx, tenant, name);
  const [loaded] = await loadSuites(tx, [{ tenant, name }]);
  if (entry?.state !== 'running' || loaded === undefined) return undefined;
  const { document: _, ...rollout } = entry;
  const head = { suite: name, active: entry.fromHash, next: entry.suiteHash, rollout };
  const { open } = loaded.rollout;
  if (open === null || open.rolloutId !== entry.rolloutId) return { ...head, at: null, models: [], decisions: [] };
  const next = nextLane(loaded.state, open).state;
  const tickMs = lastCommonTick(
    { tickMs: loaded.state.suite.tickMs, scoredTickMs: loaded.state.scoredTickMs },
    { tickMs: next.suite.tickMs, scoredTickMs: next.scoredTickMs },
    open.judgedAfterMs,
  );
  return {
    ...head,
    at: tickMs === null ? null : formatRfc3339(tickMs),
    models: tickMs === null ? [] : await diffModels(tx, tenant, entry, tickMs),
    decisions: await diffDecisions(tx, tenant, entry, open.judgedAfterMs),
  };
}

async function diffModels(
  tx: Tx,
  tenant: string,
  { suite, fromHash, suiteHash, shareInForce }: RolloutEntry,
  tickMs: number,
): Promise<readonly DiffModel[]> {
  const rows = await tx.query<{ suite_hash: string; body: PublishedModel }>(
    'select suite_hash, body from scores where tenant = $1 and suite = $2 and suite_hash = any($3::text[]) and tick_ms = $4',
    [tenant, suite, [fromHash, suiteHash], tickMs],
  );
  const of = (hash: string) =>
    new Map(rows.filter((row) => row.suite_hash === hash).map(({ body }) => [body.model, scoreOf(body)]));
  const [active, next] = [of(fromHash), of(suiteHash)];
  const models = [...new Set([...active.keys(), ...next.keys()])].sort(compareText);
  return models.map((model) => {
    const [a, b] = [active.get(model) ?? null, next.get(model) ?? null];
    const decidedBy = inShare(suite, model, shareInForce) ? 'next' : 'active';
    return { model, decidedBy, active: a, next: b, difference: difference(a, b) };
  });
}

function scoreOf({ composite, lower, upper, rank, status }: PublishedModel): DiffScore {
  return { composite, lower, upper, rank, status };
}

function difference(a: DiffScore | null, b: DiffScore | null): DiffModel['difference'] {
  const minus = (name: 'composite' | 'lower' | 'upper' | 'rank') => {
    const [from, to] = [a?.[name] ?? null, b?.[name] ?? null];
    return from === null || to === null ? null : to - from;
  };
  return { composite: minus('composite'), lower: minus('lower'), upper: minus('upper'), rank: minus('rank') };
}

interface DecisionRow {
  readonly tick_ms: bigint;
  readonly model: string;
  readonly action: 'promote' | 'demote';
  readonly suite_hash: string;
  readonly decision_hash: string | null;
  readonly incumbent_before: string | null;
}

async function diffDecisions(
  tx: Tx,
  tenant: string,
  { suite, rolloutId, fromHash, suiteHash }: RolloutEntry,
  afterMs: number | null,
): Promise<readonly DiffDecision[]> {
  const rows = await tx.query<DecisionRow>(
    `with found as (
       select tick_ms, model, action, suite_hash, decision_hash, incumbent_before from decisions
       where tenant = $1 and suite = $2 and suite_hash = any($3::text[]) and ($4::bigint is null or tick_ms > $4)
       union all
       select tick_ms, model, action, suite_hash, null, incumbent_before from would_be_decisions
       where tenant = $1 and rollout_id = $5)
     select * from found f
     where not exists (select 1 from found o where o.tick_ms = f.tick_ms and o.model = f.model and o.action = f.action and o.suite_hash <> f.suite_hash)
     order by tick_ms desc, model, suite_hash limit $6`,
    [tenant, suite, [fromHash, suiteHash], afterMs, rolloutId, MAX_LISTED],
  );
  return rows.map((row) => ({
    tick: formatRfc3339(Number(row.tick_ms)),
    model: row.model,
    action: row.action,
    by: row.suite_hash === suiteHash ? 'next' : 'active',
    decision: row.decision_hash,
    incumbentBefore: row.incumbent_before,
  }));
}
