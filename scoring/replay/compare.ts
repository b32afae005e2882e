import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Suite } from '../../core/suite.ts';
import type { Tx } from '../../platform/postgres.ts';
import { archivedRanges } from '../archive/segments.sql.ts';
import { AlteredSegment } from '../archive/stored-segment.ts';
import { verifyArchive } from '../archive/verify-archive.ts';
import { REPORTS_TOPIC } from '../ingest/report-log.ts';
import { suiteOf } from '../ingest/suite-state.sql.ts';
import { placeIn, vectorOf } from '../ingest/vector.ts';
import { type Compared, firstDifference } from './bisect.sql.ts';
import type { ReplayContext } from './context.ts';
import { decisionDifferences, MAX_TOLD_SCORES, scoreDifferences } from './differences.sql.ts';
import { inputDigestOfBlocks, type ReplayPlan } from './plan.sql.ts';
import type { Replay } from './replays.sql.ts';
import type { FirstDifference, ReplayResult } from './result.ts';
import { checksumOfScores, type ScoreRange } from './score-checksum.sql.ts';
import { shadowSchema } from './shadow-database.ts';

/** A comparison looks at all that was published in the range. */
const STATEMENT_TIMEOUT_MS = 10 * 60_000;

/** Holds what came of a replay against what was live when it began. Throws AlteredSegment, and what `signal` is aborted with. */
export async function compareReplay(
  ctx: ReplayContext,
  replay: Pick<Replay, 'replayId' | 'tenant' | 'spec'>,
  plan: ReplayPlan,
  signal: AbortSignal,
): Promise<ReplayResult> {
  const { tenant, spec } = replay;
  const archive = spec.source === 'archive' ? await checkArchive(ctx, plan, spec, signal) : null;
  const schema = shadowSchema(replay.replayId);
  const ask = <T>(work: (tx: Tx) => Promise<T>): Promise<T> =>
    ctx.db.asEngine(async (tx) => {
      await tx.query(`set local statement_timeout = ${STATEMENT_TIMEOUT_MS}`);
      return work(tx);
    });
  const tables = {
    live: `${schema}.live_scores`,
    replay: `${schema}.scores`,
    livePanes: 'public.',
    replayPanes: `${schema}.`,
  };
  const versions = await ask((tx) => loadVersions(tx, schema, tenant));
  const notes: string[] = notesOf(plan, spec);
  const sums = { live: 0, replay: 0, differ: 0 };
  const decided = { live: 0, replay: 0 };
  const checksums: ReplayResult['checksums'][number][] = [];
  const diff = { scores: [], decisions: [], evidence: [] } as {
    -readonly [Part in keyof ReplayResult['diff']]: ReplayResult['diff'][Part][number][];
  };
  let first: FirstDifference | null = null;
  for (const [suite, of] of versions) {
    signal.throwIfAborted();
    if (of.besideLive) {
      notes.push(`${suite}: two of its versions were live side by side, which is not replayed: not compared`);
      continue;
    }
    const range = { tenant, suite, fromMs: plan.fromMs ?? -(2 ** 53), toMs: plan.toMs ?? 2 ** 53 };
    const isOther = spec.suite?.name === suite;
    const scores = await ask((tx) =>
      scoreDifferences(tx, tables, range, isOther, Math.max(0, MAX_TOLD_SCORES - diff.scores.length)),
    );
    sums.live += scores.live;
    sums.replay += scores.replay;
    sums.differ += scores.differ;
    diff.scores.push(...scores.told);
    const live = await checksumOfScores(ask, tables.live, of.suites, range);
    checksums.push({ suite, live, replay: await checksumOfScores(ask, tables.replay, of.suites, range) });
    if (scores.differ > 0 && !isOther) first ??= await ask((tx) => firstOf(tx, tables, of.suites, range));
    if (!plan.whole) continue;
    const decisions = await ask((tx) =>
      decisionDifferences(tx, `${schema}.live_decisions`, `${schema}.decisions`, range),
    );
    decided.live += decisions.live;
    decided.replay += decisions.replay;
    diff.decisions.push(...decisions.told);
    diff.evidence.push(...decisions.evidence);
  }
  const replayDigest = await ask((tx) => inputDigestOfBlocks(tx, `${schema}.`, tenant, plan.digestFromMs, plan.toMs));
  const found = sums.differ + diff.decisions.length + diff.evidence.length;
  const isSame = checksums.every((one) => one.live === one.replay) && replayDigest === plan.liveDigest;
  return {
    equal: found === 0 && (isSame || spec.suite !== null),
    range: { from: instant(plan.fromMs), to: instant(plan.toMs) },
    scores: sums,
    checksums,
    inputDigest: { live: plan.liveDigest, replay: replayDigest, from: instant(plan.digestFromMs) },
    archive,
    first,
    decisions: plan.whole ? decided : null,
    diff,
    notes,
  };
}

function instant(ms: number | null): string | null {
  return ms === null ? null : formatRfc3339(ms);
}

function notesOf(plan: ReplayPlan, spec: Replay['spec']): string[] {
  const notes: string[] = [];
  if (plan.begins !== null)
    notes.push(
      `what was read up to ${formatRfc3339(plan.begins.atMs)} is not read again as it was (${plan.begins.detail}): scores are compared where their windows lie behind it, decisions are not`,
    );
  else if (!plan.whole)
    notes.push(
      'it begins behind the beginning of the log: scores are compared where their windows are whole, decisions are not',
    );
  if (spec.suite !== null)
    notes.push(
      `${spec.suite.name} is another suite than was live: policy is taken to allow, and its decisions are its own`,
    );
  if (spec.to !== null && 'offset' in spec.to)
    notes.push('what was reported behind --to is in what was live, and not in the replay');
  return notes;
}

async function checkArchive(
  { db, store }: ReplayContext,
  plan: ReplayPlan,
  spec: Replay['spec'],
  signal: AbortSignal,
): Promise<{ readonly segments: number; readonly messages: number }> {
  const [start, until] = [vectorOf(plan.start), vectorOf(plan.until)];
  const stretches = Array.from(until, ([partition, to]) => {
    const place = { topic: REPORTS_TOPIC, generation: plan.generation, partition };
    return { place, range: { from: placeIn(start, partition).offset, to: to.offset } };
  });
  // All there is has the earlier lives of the topic in it.
  if (spec.from === null)
    for (const { from, next, ...place } of await db.asEngine((tx) => archivedRanges(tx, REPORTS_TOPIC)))
      if (place.generation !== plan.generation) stretches.push({ place, range: { from, to: next } });
  const sums = { segments: 0, messages: 0 };
  for (const { place, range } of stretches) {
    const { segments, messages, fault } = await verifyArchive(db, store, place, range, signal);
    if (fault !== null) throw new AlteredSegment(fault);
    sums.segments += segments;
    sums.messages += messages;
  }
  return sums;
}

interface Versions {
  readonly suites: ReadonlyMap<string, Suite>;
  /** A version that was kept beside the active one published scores. */
  readonly besideLive: boolean;
}

/** Of every suite that either side has scores of. */
async function loadVersions(tx: Tx, schema: string, tenant: string): Promise<ReadonlyMap<string, Versions>> {
  const rows = await tx.query<{ suite: string; suite_hash: string; document: unknown; beside: boolean }>(
    `select suite, suite_hash, document, exists (select 1 from public.suite_rollouts w join ${schema}.live_scores l using (tenant, suite, suite_hash)
              where w.tenant = d.tenant and w.suite = d.suite) as beside
     from (select tenant, suite, suite_hash, document from public.suites where tenant = $1
           union select tenant, suite, suite_hash, document from ${schema}.suites where tenant = $1) d
     where exists (select 1 from ${schema}.live_scores l where (l.tenant, l.suite, l.suite_hash) = (d.tenant, d.suite, d.suite_hash))
        or exists (select 1 from ${schema}.scores r where (r.tenant, r.suite, r.suite_hash) = (d.tenant, d.suite, d.suite_hash))
     order by suite, suite_hash`,
    [tenant],
  );
  const versions = new Map<string, { suites: Map<string, Suite>; besideLive: boolean }>();
  for (const { suite, suite_hash: hash, document, beside } of rows) {
    const of = versions.get(suite) ?? { suites: new Map<string, Suite>(), besideLive: false };
    of.suites.set(hash, suiteOf(hash, document));
    of.besideLive ||= beside;
    versions.set(suite, of);
  }
  return versions;
}

async function firstOf(
  tx: Tx,
  tables: Compared,
  suites: ReadonlyMap<string, Suite>,
  range: ScoreRange,
): Promise<FirstDifference | null> {
  let first: FirstDifference | null = null;
  for (const suiteHash of suites.keys()) {
    const found = await firstDifference(tx, tables, suiteHash, range);
    if (found !== undefined && (first === null || found.tick < first.tick)) first = found;
  }
  return first;
}
