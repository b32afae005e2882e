import type { CopyTx, Tx } from '../../platform/postgres.ts';
import { unpackBlock } from '../ingest/dedup-index.ts';
import { loadPositions, type ReadOffsets } from '../ingest/positions.sql.ts';
import { REPORTS_TOPIC } from '../ingest/report-log.ts';
import { type Beginning, CLOCKS_APART_MS, loadHistory } from '../ingest/topic-history.sql.ts';
import { isBefore, placeIn, recordedVector, type Vector } from '../ingest/vector.ts';
import { DigestSorter } from '../offline/digest-sorter.ts';
import { MAX_SKEW_MS, MAX_WINDOW_MS } from '../rules/watermark.ts';
import { shadowSchema } from './shadow-database.ts';
import type { Bound, ReplaySpec } from './spec.ts';

const HOUR_MS = 3_600_000;
/** A window reaches back by its length, its end is rounded to at most an hour, and a report may be ahead of its arrival. */
const WARM_UP_MS = MAX_WINDOW_MS + HOUR_MS + MAX_SKEW_MS;
/** Reports that are later than this touch no score. */
const SETTLED_AFTER_MS = MAX_WINDOW_MS + HOUR_MS;
/** Copying what is live may take longer than any statement of the server may. */
export const COPY_TIMEOUT_MS = 10 * 60_000;
/** Blocks fetched at once. */
const BLOCKS_PER_QUERY = 2_000;

/** Fixed when a replay begins; what is live then was copied in the same instant. */
export interface ReplayPlan {
  readonly start: ReadOffsets;
  /** Where the consumer stood. */
  readonly until: ReadOffsets;
  readonly messages: number;
  /** Ticks compared: at or after, and at or before; null: no bound. */
  readonly fromMs: number | null;
  readonly toMs: number | null;
  /** It begins where the log began: contests are replayed too. */
  readonly whole: boolean;
  /** inputDigest of the reports that the live side remembers, observed at or after `digestFromMs`. */
  readonly liveDigest: string;
  readonly digestFromMs: number | null;
  readonly generation: string;
  /** What cannot be read as it was read lies before it; null: nothing does. */
  readonly begins: Beginning | null;
}

export interface PlanSources {
  /** The oldest offset that can be read of a partition. */
  readonly firstOffset: (partition: number) => Promise<bigint>;
  readonly generation: string;
}

/**
 * Makes the tables of a replay, and copies into them, as of one instant: the registry, the answers of policy, and what was published and
 * decided up to now, to be compared with. Repeated after a crash it begins anew: nothing of it is seen before it is committed.
 */
export async function prepareShadow(
  tx: CopyTx,
  replay: { readonly replayId: string; readonly tenant: string; readonly spec: ReplaySpec },
  sources: PlanSources,
): Promise<ReplayPlan> {
  const { replayId, tenant, spec } = replay;
  const schema = shadowSchema(replayId);
  await tx.query('set transaction isolation level repeatable read');
  await tx.query(`set local statement_timeout = ${COPY_TIMEOUT_MS}`);
  await tx.query('select open_shadow($1)', [schema]);
  const until = await loadPositions(tx, REPORTS_TOPIC);
  const start = await startOf(tx, spec.from, until, sources);
  const { begins } = await loadHistory(tx, REPORTS_TOPIC);
  const whole = begins === null && Array.from(start.at.values()).every(({ offset }) => offset === 0n);
  const beginsMs = begins === null ? null : begins.atMs + CLOCKS_APART_MS + WARM_UP_MS;
  const fromMs = later(boundMs(spec.from), whole ? null : later(start.completeMs, beginsMs));
  const toMs = boundMs(spec.to);
  const end = spec.to !== null && 'offset' in spec.to ? cutAt(until, BigInt(spec.to.offset)) : until;
  await copyLive(tx, schema, tenant, { fromMs, toMs });
  await copyRegistry(tx, schema, tenant);
  const digest = await liveDigest(tx, tenant, fromMs, toMs);
  return {
    start: recordedVector(start.at),
    until: recordedVector(end),
    messages: messages(start.at, end),
    fromMs,
    toMs,
    whole,
    ...digest,
    generation: sources.generation,
    begins,
  };
}

function boundMs(bound: Bound | null): number | null {
  return bound !== null && 'atMs' in bound ? bound.atMs : null;
}

function later(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b;
  return Math.max(a, b);
}

function cutAt(until: Vector, offset: bigint): Vector {
  const limit = { offset, line: 0 };
  return new Map(Array.from(until, ([partition, at]) => [partition, isBefore(limit, at) ? limit : at]));
}

function messages(from: Vector, to: Vector): number {
  let total = 0n;
  for (const [partition, { offset }] of to) total += offset - placeIn(from, partition).offset;
  return Number(total > 0n ? total : 0n);
}

interface Start {
  readonly at: Vector;
  /** Ticks from here on hold all their reports, where it does not begin at the beginning. */
  readonly completeMs: number | null;
}

/** Where reading begins, so that every tick asked for has all reports of its windows. */
async function startOf(tx: Tx, from: Bound | null, until: Vector, sources: PlanSources): Promise<Start> {
  const at = new Map<number, { offset: bigint; line: number }>();
  let completeMs: number | null = null;
  for (const [partition] of until) {
    const first = await sources.firstOffset(partition);
    const place = { topic: REPORTS_TOPIC, generation: sources.generation, partition };
    const wanted =
      from === null
        ? first
        : 'offset' in from
          ? BigInt(from.offset)
          : await offsetAt(tx, place, from.atMs - WARM_UP_MS);
    const offset = wanted < first ? first : wanted;
    at.set(partition, { offset, line: 0 });
    if (offset > 0n) completeMs = later(completeMs, await completeFrom(tx, place, offset));
  }
  return { at, completeMs };
}

interface Place {
  readonly topic: string;
  readonly generation: string;
  readonly partition: number;
}

/** At or before the first message that was appended then or later: where a segment begins, or the archive ends. */
async function offsetAt(tx: Tx, { topic, generation, partition }: Place, appendedMs: number): Promise<bigint> {
  const rows = await tx.query<{ first: bigint | null; end: bigint | null }>(
    `select min(from_offset) filter (where last_appended_ms >= $4) as first, max(next_offset) as end from public.archive_segments
     where topic = $1 and generation = $2 and partition = $3`,
    [topic, generation, partition, appendedMs],
  );
  const row = rows[0];
  return row?.first ?? row?.end ?? 0n;
}

/** By what was appended just before: later ticks have windows that begin after it. */
async function completeFrom(tx: Tx, { topic, generation, partition }: Place, offset: bigint): Promise<number> {
  const rows = await tx.query<{ before: number | null }>(
    `select max(appended) as before from (
       select last_appended_ms as appended from public.archive_segments
       where topic = $1 and generation = $2 and partition = $3 and next_offset <= $4
       union all
       select extract(epoch from appended_at)::float8 * 1000 from public.log_messages
       where topic = $1 and partition = $3 and log_offset < $4) m`,
    [topic, generation, partition, offset],
  );
  const before = rows[0]?.before ?? null;
  return before === null ? 0 : Math.ceil(before) + WARM_UP_MS;
}

async function copyLive(
  tx: Tx,
  schema: string,
  tenant: string,
  { fromMs, toMs }: { readonly fromMs: number | null; readonly toMs: number | null },
): Promise<void> {
  const bounds = [tenant, fromMs ?? -(2 ** 53), toMs ?? 2 ** 53];
  await tx.execute(
    `insert into ${schema}.live_scores select * from public.scores where tenant = $1 and tick_ms between $2 and $3 and published`,
    bounds,
  );
  await tx.execute(
    `insert into ${schema}.live_decisions select * from public.decisions where tenant = $1 and tick_ms between $2 and $3`,
    bounds,
  );
}

/** Suites come at their turns, challenges where they began. Retired versions too: their last reports were taken, and what came later was set aside. */
async function copyRegistry(tx: Tx, schema: string, tenant: string): Promise<void> {
  await tx.execute(`insert into ${schema}.models select * from public.models where tenant = $1`, [tenant]);
  // Nothing is ever retrained for what happens in a replay.
  await tx.execute(`update ${schema}.models set retrain = null, retrain_when = null`);
  await tx.execute(`insert into ${schema}.model_versions select * from public.model_versions where tenant = $1`, [
    tenant,
  ]);
  await tx.execute(`update ${schema}.model_versions set retired_at = null`);
  // What was answered is not asked again, but for ticks that were decided: those wait for their place.
  await tx.execute(
    `insert into ${schema}.policy_questions select q.* from public.policy_questions q
     where q.tenant = $1 and q.state in ('answered', 'abandoned') and not exists (
       select 1 from public.decisions d where d.tenant = q.tenant and d.suite = q.suite and d.tick_ms = q.tick_ms and d.model = q.model
         and d.action = 'promote')`,
    [tenant],
  );
}

/** Of what the live side still remembers to have accepted. */
async function liveDigest(
  tx: Tx,
  tenant: string,
  fromMs: number | null,
  toMs: number | null,
): Promise<Pick<ReplayPlan, 'liveDigest' | 'digestFromMs'>> {
  const forgotten = await rememberedFromMs(tx, tenant, 'public.');
  const digestFromMs = later(fromMs, forgotten);
  return { liveDigest: await inputDigestOfBlocks(tx, 'public.', tenant, digestFromMs, toMs), digestFromMs };
}

/** Reports observed at or after it are all remembered; null: no suite has a watermark. */
async function rememberedFromMs(tx: Tx, tenant: string, schema: string): Promise<number | null> {
  const rows = await tx.query<{ watermark_ms: bigint | null }>(
    `select max(watermark_ms) as watermark_ms from ${schema}suite_states where tenant = $1`,
    [tenant],
  );
  const watermarkMs = rows[0]?.watermark_ms ?? null;
  return watermarkMs === null ? null : Number(watermarkMs) - SETTLED_AFTER_MS;
}

/** inputDigest (docs/scoring.md, Replay proof) of the accepted reports in the packed blocks, observed in [fromMs, toMs]. */
export async function inputDigestOfBlocks(
  tx: Tx,
  schema: string,
  tenant: string,
  fromMs: number | null,
  toMs: number | null,
): Promise<string> {
  const sorter = new DigestSorter();
  try {
    for (let after = 0n; ; ) {
      const rows = await tx.query<{ block_id: bigint; block: Buffer }>(
        `select block_id, block from ${schema}dedup_blocks where tenant = $1 and block_id > $2 and newest_observed_ms >= $3 order by block_id limit $4`,
        [tenant, after, fromMs ?? -(2 ** 53), BLOCKS_PER_QUERY],
      );
      for (const { block } of rows) {
        for (const { digest, observedAtMs } of unpackBlock(block))
          if (observedAtMs >= (fromMs ?? -Infinity) && observedAtMs <= (toMs ?? Infinity)) sorter.add(digest);
      }
      const last = rows.at(-1);
      if (last === undefined || rows.length < BLOCKS_PER_QUERY) return sorter.hex();
      after = last.block_id;
    }
  } finally {
    sorter.close();
  }
}
