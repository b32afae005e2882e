import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Tx } from '../../platform/postgres.ts';
import { compareDecisions, type Difference } from '../backtest/compare.ts';
import type { BacktestDecision } from '../backtest/decision-list.ts';
import type { SignedDecision } from '../promotion/decision-record.ts';
import type { PublishedMetric, PublishedModel, PublishedWindow } from '../rules/published.ts';
import { type Compared, settledBody } from './bisect.sql.ts';
import type { EvidenceDifference, ScoreDifference } from './result.ts';
import type { ScoreRange } from './score-checksum.sql.ts';

/** Scores that are told one by one; of the rest only the number. */
export const MAX_TOLD_SCORES = 200;
/** Facts about one of them. */
const MAX_FACTS = 8;

export interface ScoreDifferences {
  readonly live: number;
  readonly replay: number;
  readonly differ: number;
  readonly told: readonly ScoreDifference[];
}

/**
 * Scores and ranks of one suite that differ, by tick and model. `acrossVersions`: what was live under one version is held against what
 * another one gives.
 */
export async function scoreDifferences(
  tx: Tx,
  { live, replay }: Compared,
  range: ScoreRange,
  acrossVersions: boolean,
  room: number,
): Promise<ScoreDifferences> {
  const own = (table: string) =>
    `(select suite_hash, model, tick_ms, body from ${table} where tenant = $1 and suite = $2 and published and tick_ms between $3 and $4)`;
  const values = [range.tenant, range.suite, range.fromMs, range.toMs];
  const joined = `${own(live)} l full join ${own(replay)} r on l.model = r.model and l.tick_ms = r.tick_ms${acrossVersions ? '' : ' and l.suite_hash = r.suite_hash'}`;
  const differs = `${settledBody('l.body')} is distinct from ${settledBody('r.body')}`;
  const counts = await tx.query<{ live: bigint; replay: bigint; differ: bigint }>(
    `select count(l.body) as live, count(r.body) as replay, count(*) filter (where ${differs}) as differ from ${joined}`,
    values,
  );
  const rows = await tx.query<{
    tick_ms: bigint;
    model: string;
    live: PublishedModel | null;
    replay: PublishedModel | null;
    live_hash: string | null;
    replay_hash: string | null;
  }>(
    `select coalesce(l.tick_ms, r.tick_ms) as tick_ms, coalesce(l.model, r.model) as model, l.body as live, r.body as replay,
            l.suite_hash as live_hash, r.suite_hash as replay_hash
     from ${joined} where ${differs} order by 1, 2 limit $5`,
    [...values, room],
  );
  const { live: inLive, replay: inReplay, differ } = counts[0]!;
  return {
    live: Number(inLive),
    replay: Number(inReplay),
    differ: Number(differ),
    told: rows.map((row) => ({
      suite: range.suite,
      tick: formatRfc3339(Number(row.tick_ms)),
      model: row.model,
      live: standing(row.live),
      replay: standing(row.replay),
      why: why(row),
    })),
  };
}

function standing(model: PublishedModel | null): unknown {
  if (model === null) return null;
  const { rank, status, composite, lower, upper } = model;
  return { rank, status, composite, lower, upper };
}

interface Pair {
  readonly live: PublishedModel | null;
  readonly replay: PublishedModel | null;
  readonly live_hash: string | null;
  readonly replay_hash: string | null;
}

function why({ live, replay, live_hash, replay_hash }: Pair): readonly string[] {
  if (live === null) return ['it was not published'];
  if (replay === null) return ['the replay has no score of it'];
  const facts: string[] = [];
  if (live_hash !== replay_hash) facts.push(`suite ${short(live_hash)} → ${short(replay_hash)}`);
  for (const name of ['1h', '24h', '7d'] as const) {
    const [one, other] = [live.windows[name], replay.windows[name]];
    if (one === undefined && other === undefined) continue;
    if (one === undefined || other === undefined)
      facts.push(`window ${name} only ${one === undefined ? 'in the replay' : 'live'}`);
    else facts.push(...windowFacts(name, one, other));
  }
  if (live.rank !== replay.rank) facts.push(`rank ${live.rank} → ${replay.rank}`);
  return facts.slice(0, MAX_FACTS);
}

function short(hash: string | null): string {
  return hash === null ? 'none' : hash.slice(0, 12);
}

/** Other reports make other counts; the same reports under other rules other scores. */
function windowFacts(name: string, one: PublishedWindow, other: PublishedWindow): readonly string[] {
  const facts: string[] = [];
  if (one.n !== other.n) facts.push(`${name}: ${one.n} → ${other.n} reports`);
  else if (one.weight !== other.weight) facts.push(`${name}: weight ${one.weight} → ${other.weight}`);
  const names = new Set([...Object.keys(one.metrics), ...Object.keys(other.metrics)]);
  for (const metric of names) {
    const [a, b] = [one.metrics[metric], other.metrics[metric]];
    if (a === undefined || b === undefined)
      facts.push(`${name} ${metric}: only ${a === undefined ? 'in the replay' : 'live'}`);
    else facts.push(...metricFacts(`${name} ${metric}`, a, b));
  }
  return facts;
}

function metricFacts(name: string, a: PublishedMetric, b: PublishedMetric): readonly string[] {
  if (a.n !== b.n) return [`${name}: ${a.n} → ${b.n} values`];
  if (a.mean !== b.mean) return [`${name}: mean ${a.mean} → ${b.mean}`];
  return a.score === b.score ? [] : [`${name}: score ${a.score} → ${b.score}`];
}

export interface DecisionDifferences {
  readonly live: number;
  readonly replay: number;
  readonly told: readonly (Difference & { readonly suite: string })[];
  readonly evidence: readonly EvidenceDifference[];
}

type Decided = BacktestDecision & { readonly suite: string };

/** Promotions and demotions of one suite that differ, and those that are the same but rest on other evidence. */
export async function decisionDifferences(
  tx: Tx,
  live: string,
  replay: string,
  { tenant, suite, fromMs, toMs }: ScoreRange,
): Promise<DecisionDifferences> {
  const load = async (table: string): Promise<readonly Decided[]> => {
    const rows = await tx.query<{ bytes: Buffer }>(
      `select bytes from ${table} where tenant = $1 and suite = $2 and tick_ms between $3 and $4 order by tick_ms, model`,
      [tenant, suite, fromMs, toMs],
    );
    return rows.map(({ bytes }) => {
      const { record } = JSON.parse(bytes.toString('utf8')) as SignedDecision;
      const { tick, model, action, incumbentBefore, evidence } = record;
      return { suite, tick, model, action, incumbentBefore, evidence };
    });
  };
  const [was, is] = [await load(live), await load(replay)];
  const keyOf = ({ tick, model, action }: Decided) => `${tick} ${action} ${model}`;
  const again = new Map(is.map((one) => [keyOf(one), one]));
  const evidence = was.flatMap((one) => {
    const other = again.get(keyOf(one));
    if (other === undefined || JSON.stringify(one.evidence) === JSON.stringify(other.evidence)) return [];
    const { tick, model, action } = one;
    return [{ suite, tick, model, action, live: one.evidence, replay: other.evidence }];
  });
  const told = compareDecisions(was, is).map((difference) => ({ ...difference, suite }));
  return { live: was.length, replay: is.length, told, evidence };
}
