import type { Tx } from '../../platform/postgres.ts';
import { type EvidenceColumns, evidenceSums } from '../ingest/effects.sql.ts';
import type { SuiteState } from '../ingest/suite-state.sql.ts';
import type { Lane } from '../rollout/suite-lanes.ts';
import { type EvidenceSums, requiredMetrics } from '../rules/evidence.ts';
import type { GuardrailCounts } from '../rules/guardrail.ts';
import type { ArmSums, ChallengeInput, ModelFacts, PolicyAnswer, TickInput } from '../rules/promotion.ts';
import type { PublishedModel } from '../rules/published.ts';
import type { StoredWatch } from './watches.sql.ts';

/** A version's ticks after the decided one, up to `lastMs`, that hold a report of a watched model, ascending: only these can change anything. */
export async function undecidedTicks(
  tx: Tx,
  state: SuiteState,
  watches: readonly StoredWatch[],
  lastMs: number,
  limit: number,
): Promise<readonly number[]> {
  if (state.decidedTickMs === null) return [];
  const rows = await tx.query<{ tick_ms: bigint }>(
    `select distinct tick_ms from tick_reports
     where tenant = $1 and suite = $2 and suite_hash = $7 and model = any($3::text[]) and tick_ms > $4 and tick_ms <= $5
     order by tick_ms limit $6`,
    [
      state.tenant,
      state.suite.name,
      watches.map((watch) => watch.model),
      state.decidedTickMs,
      lastMs,
      limit,
      state.suite.hash,
    ],
  );
  return rows.map((row) => Number(row.tick_ms));
}

/** Everything that decideTick needs at a published tick, as stored now. */
export async function loadTickInput(
  tx: Tx,
  { state, decidesFor }: Lane,
  tickMs: number,
  watches: readonly StoredWatch[],
  policies: ReadonlyMap<string, PolicyAnswer>,
): Promise<TickInput> {
  const facts = await loadFacts(tx, state, tickMs, watches);
  const evidence = await loadEvidence(tx, watches, tickMs);
  const lastChange = await loadLastChanges(tx, state, watches);
  const seat = watches.find((watch) => watch.role === 'incumbent');
  const challenges = watches
    .filter((watch) => watch.role === 'candidate')
    .map(
      (watch): ChallengeInput => ({
        watch: watch.state,
        facts: facts(watch),
        evidence: armsOf(state, watch, seat, evidence),
        lastChangeMs: lastChange.get(watch.model) ?? null,
        // Nobody is asked about what is not decided here.
        policy:
          decidesFor === undefined || decidesFor(watch.model) ? (policies.get(watch.model) ?? 'unknown') : 'allow',
      }),
    );
  return {
    suite: state.suite,
    tickMs,
    watermarkMs: state.watermarkMs ?? tickMs,
    incumbent: seat === undefined ? null : { watch: seat.state, facts: facts(seat) },
    challenges,
    ...(decidesFor === undefined ? {} : { decidesFor }),
  };
}

async function loadFacts(
  tx: Tx,
  state: SuiteState,
  tickMs: number,
  watches: readonly StoredWatch[],
): Promise<(watch: StoredWatch) => ModelFacts> {
  const models = watches.map((watch) => watch.model);
  const fresh = await tx.query<{ model: string }>(
    'select model from tick_reports where tenant = $1 and suite = $2 and suite_hash = $5 and model = any($3::text[]) and tick_ms = $4',
    [state.tenant, state.suite.name, models, tickMs, state.suite.hash],
  );
  const scores = await tx.query<{ model: string; body: PublishedModel }>(
    'select model, body from scores where tenant = $1 and suite = $2 and suite_hash = $3 and model = any($4::text[]) and tick_ms = $5',
    [state.tenant, state.suite.name, state.suite.hash, models, tickMs],
  );
  const counts = await loadGuardrails(
    tx,
    watches,
    tickMs,
    state.suite.metrics.filter((rule) => rule.guardrail !== null).map((rule) => rule.name),
  );
  const withData = new Set(fresh.map((row) => row.model));
  const scoreOf = new Map(scores.map((row) => [row.model, row.body]));
  return (watch) => ({
    newData: withData.has(watch.model),
    score: scoreOf.get(watch.model) ?? null,
    guardrails: counts.get(watch.watchId) ?? new Map(),
  });
}

/** Per watch and guarded metric, over its own model's rows since the count's last restart. */
async function loadGuardrails(
  tx: Tx,
  watches: readonly StoredWatch[],
  tickMs: number,
  metrics: readonly string[],
): Promise<ReadonlyMap<string, ReadonlyMap<string, GuardrailCounts>>> {
  const found = new Map<string, Map<string, GuardrailCounts>>();
  if (metrics.length === 0) return found;
  const wanted = watches.flatMap((watch) =>
    metrics.map((metric) => ({
      watch,
      metric,
      restartTickMs: watch.state.guardrails.find((one) => one.metric === metric)?.restartTickMs ?? null,
    })),
  );
  const rows = await tx.query<{ watch_id: string; metric: string; beyond: bigint; within: bigint }>(
    `select e.watch_id, e.metric, sum(e.beyond)::bigint as beyond, sum(e.n - e.beyond)::bigint as within
     from unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) as a (watch_id, model, metric, restart_ms)
       join evidence_sums e using (watch_id, model, metric)
     where e.tick_ms <= $5 and (a.restart_ms is null or e.tick_ms > a.restart_ms) group by e.watch_id, e.metric`,
    [
      wanted.map((one) => one.watch.watchId),
      wanted.map((one) => one.watch.model),
      wanted.map((one) => one.metric),
      wanted.map((one) => one.restartTickMs),
      tickMs,
    ],
  );
  for (const row of rows) {
    const counts = found.get(row.watch_id) ?? new Map<string, GuardrailCounts>();
    counts.set(row.metric, { beyond: Number(row.beyond), within: Number(row.within) });
    found.set(row.watch_id, counts);
  }
  return found;
}

/** `watchId model metric` → sums up to the tick. */
async function loadEvidence(
  tx: Tx,
  watches: readonly StoredWatch[],
  tickMs: number,
): Promise<ReadonlyMap<string, EvidenceSums>> {
  const rows = await tx.query<{ watch_id: string; model: string; metric: string } & EvidenceColumns>(
    `select watch_id, model, metric, sum(n)::bigint as n, sum(weight)::text as weight, sum(sum_ws)::text as sum_ws,
            sum(sum_ws2)::text as sum_ws2, sum(beyond)::bigint as beyond
     from evidence_sums where watch_id = any($1::text[]) and tick_ms <= $2 group by watch_id, model, metric`,
    [watches.map((watch) => watch.watchId), tickMs],
  );
  return new Map(rows.map((row) => [`${row.watch_id} ${row.model} ${row.metric}`, evidenceSums(row)]));
}

function armsOf(
  state: SuiteState,
  watch: StoredWatch,
  seat: StoredWatch | undefined,
  evidence: ReadonlyMap<string, EvidenceSums>,
): ReadonlyMap<string, ArmSums> {
  const arms = new Map<string, ArmSums>();
  for (const metric of requiredMetrics(state.suite)) {
    const candidate = evidence.get(`${watch.watchId} ${watch.model} ${metric}`);
    if (candidate === undefined) continue;
    const incumbent = seat === undefined ? null : (evidence.get(`${watch.watchId} ${seat.model} ${metric}`) ?? null);
    arms.set(metric, { candidate, incumbent });
  }
  return arms;
}

/** Cooldown runs from a model's last promotion or demotion. */
async function loadLastChanges(
  tx: Tx,
  state: SuiteState,
  watches: readonly StoredWatch[],
): Promise<ReadonlyMap<string, number>> {
  const rows = await tx.query<{ model: string; tick_ms: bigint }>(
    'select model, max(tick_ms) as tick_ms from decisions where tenant = $1 and suite = $2 and model = any($3::text[]) group by model',
    [state.tenant, state.suite.name, watches.map((watch) => watch.model)],
  );
  return new Map(rows.map((row) => [row.model, Number(row.tick_ms)]));
}
