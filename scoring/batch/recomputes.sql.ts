import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Suite } from '../../core/suite.ts';
import type { Tx } from '../../platform/postgres.ts';
import { addPanes } from '../ingest/effects.sql.ts';
import { suiteOf } from '../ingest/suite-state.sql.ts';
import {
  type Beginning,
  CLOCKS_APART_MS,
  type Era,
  erasUpTo,
  loadHistory,
  type TopicHistory,
} from '../ingest/topic-history.sql.ts';
import type { Pane } from '../rules/pane.ts';
import { keptFromMs } from '../rules/retention.ts';
import { onTimeFrom } from '../rules/rollout.ts';
import { MAX_SKEW_MS } from '../rules/watermark.ts';
import { hourOf } from './hour-share.ts';
import { keptFromOf, type ShardCounts, type ShardRules } from './messages.ts';
import { countedFromMs } from './shard-effects.ts';

/** The rows of `recomputes`: each is claimed for a while, and is the fence of whatever is done in its name. */

export interface ShardKey {
  readonly rolloutId: string;
  readonly topic: string;
  readonly partition: number;
}

export interface Shard extends ShardKey, ShardRules {
  readonly suite: Suite;
  readonly untilOffset: bigint;
  readonly untilLine: number;
  /** Messages before it are in the panes. */
  readonly nextOffset: bigint;
  /** Hours since 1970 of which jobs have counted all, also behind it. */
  readonly mergedHours: ReadonlySet<number>;
  /** Why nothing tells any more what was read where; null: it is known of all the time that counts. */
  readonly changed: string | null;
  /** Of what it has to read. */
  readonly eras: readonly Era[];
  /** Of this claim alone, so that one which was taken over is told apart even in the same process. */
  readonly worker: string;
}

/** The claim was taken over, or its rollout ended: nothing was changed. */
export class StaleShard extends Error {
  override name = 'StaleShard';
}

/** Makes the shards of rollouts that have none: of each partition that had been read when the version was taken up. */
export async function makeShards(tx: Tx, topic: string): Promise<number> {
  return tx.execute(
    `insert into recomputes (rollout_id, tenant, topic, partition, until_offset, until_line, state)
     select o.rollout_id, o.tenant, $1, e.key::integer, e.value::bigint, coalesce((o.opened_at -> 'lines' ->> e.key)::integer, 0), 'waiting'
     from rollout_states o join suite_rollouts w using (rollout_id), jsonb_each_text(o.opened_at -> 'offsets') e
     where not o.ended and w.state = 'running' and o.complete_tick_ms is not null and o.scored_tick_ms is not null
       and not exists (select 1 from recomputes c where c.rollout_id = o.rollout_id)
     order by 1, 4
     on conflict do nothing`,
    [topic],
  );
}

interface ClaimedRow {
  readonly rollout_id: string;
  readonly topic: string;
  readonly partition: number;
  readonly tenant: string;
  readonly until_offset: bigint;
  readonly until_line: number;
  readonly next_offset: bigint;
  readonly merged_hours: readonly number[];
}

/** Claims the oldest shard that nobody works on, or whose lease has run out. By the database's clock. */
export async function claimShard(tx: Tx, worker: string, leaseMs: number): Promise<Shard | undefined> {
  const rows = await tx.query<ClaimedRow>(
    `update recomputes c set state = 'running', worker = $1, lease_until = clock_timestamp() + $2 * interval '1 ms', changed_at = clock_timestamp()
     from (select rollout_id, topic, partition from recomputes
           where state = 'waiting' or (state = 'running' and lease_until < clock_timestamp())
           order by created_at, rollout_id, partition limit 1 for update skip locked) free
     where (c.rollout_id, c.topic, c.partition) = (free.rollout_id, free.topic, free.partition)
     returning ${CLAIMED}`,
    [worker, leaseMs],
  );
  const row = rows[0];
  if (row === undefined) return undefined;
  const shard = await shardOf(tx, row, worker);
  if (shard === undefined) await endShard(tx, { ...keyOf(row), worker }, 'stopped', 'the version is kept no more');
  return shard;
}

function keyOf(row: ClaimedRow): ShardKey {
  return { rolloutId: row.rollout_id, topic: row.topic, partition: row.partition };
}

/** What a row is about; undefined: its version is kept no more. */
async function shardOf(tx: Tx, row: ClaimedRow, worker: string): Promise<Shard | undefined> {
  const key = keyOf(row);
  const version = await loadVersion(tx, key.rolloutId);
  if (version === undefined) return undefined;
  const { begins, eras } = await historyOf(tx, key);
  const onTimeFromMs = onTimeFromMsOf(version, eras);
  const keptFrom = keptFromOf((resolution) => keptFromMs(resolution, version.scoredTickMs));
  return {
    ...key,
    tenant: row.tenant,
    suite: version.suite,
    untilOffset: row.until_offset,
    untilLine: row.until_line,
    nextOffset: row.next_offset,
    mergedHours: new Set(row.merged_hours),
    keptFrom,
    onTimeFromMs,
    changed: changeOf(key.topic, begins, countedFromMs({ keptFrom, onTimeFromMs })),
    eras,
    worker,
  };
}

/** What the topic was while that was read which a rollout's shards have to read. */
export async function historyOf(tx: Tx, { rolloutId, topic }: Omit<ShardKey, 'partition'>): Promise<TopicHistory> {
  const rows = await tx.query<{ partition: number; until_offset: bigint; until_line: number }>(
    'select partition, until_offset, until_line from recomputes where rollout_id = $1 and topic = $2',
    [rolloutId, topic],
  );
  const until = new Map(rows.map((row) => [row.partition, { offset: row.until_offset, line: row.until_line }]));
  const { begins, eras } = await loadHistory(tx, topic);
  return { begins, eras: erasUpTo(eras, until) };
}

/** As in ShardRules. */
export function onTimeFromMsOf({ suite, startTickMs }: Version, eras: readonly Era[]): number | null {
  return eras.every(({ partitions }) => partitions === 1) ? null : onTimeFrom(suite, startTickMs);
}

/**
 * Since when what counts was appended the topic was made anew (what was read of the old one is not in this one), or got more partitions and nobody
 * wrote down how far they had been read.
 */
function changeOf(topic: string, begins: Beginning | null, countedFrom: number): string | null {
  if (begins === null || begins.atMs < countedFrom - MAX_SKEW_MS - CLOCKS_APART_MS) return null;
  return `of the log ${topic}, at ${formatRfc3339(begins.atMs)}: ${begins.detail}; its history is read from then on only, and the version becomes complete by time`;
}

export interface Version {
  readonly tenant: string;
  readonly suite: Suite;
  /** Least of what its suite's versions have scored: panes are pruned by it. */
  readonly scoredTickMs: number;
  /** Ticks of the version up to it are scored. */
  readonly versionScoredMs: number;
  /** Its own ticks begin after it. */
  readonly startTickMs: number;
  readonly completeTickMs: number | null;
  /** It became the active version meanwhile. */
  readonly adopted: boolean;
}

/** The version of a rollout, as long as the consumer keeps it: beside the active one, or as the active one. */
export async function loadVersion(tx: Tx, rolloutId: string): Promise<Version | undefined> {
  const rows = await tx.query<VersionRow>(
    `select o.tenant, o.suite_hash, s.document, o.scored_tick_ms, o.judged_after_ms, o.complete_tick_ms, o.ended,
            t.suite_hash as active_hash, t.scored_tick_ms as active_scored_ms
     from rollout_states o join suite_rollouts w using (rollout_id) join suites s on (s.tenant, s.suite, s.suite_hash) = (o.tenant, o.suite, o.suite_hash)
       join suite_states t on (t.tenant, t.suite) = (o.tenant, o.suite)
     where o.rollout_id = $1 and w.state <> 'rolled_back'`,
    [rolloutId],
  );
  const row = rows[0];
  if (row === undefined || row.active_scored_ms === null || row.judged_after_ms === null) return undefined;
  const adopted = row.active_hash === row.suite_hash;
  if (row.ended && !adopted) return undefined;
  const activeMs = Number(row.active_scored_ms);
  const versionMs = adopted ? activeMs : Number(row.scored_tick_ms);
  return {
    tenant: row.tenant,
    suite: suiteOf(row.suite_hash, row.document),
    scoredTickMs: Math.min(activeMs, versionMs),
    versionScoredMs: versionMs,
    startTickMs: Number(row.judged_after_ms),
    completeTickMs: row.complete_tick_ms === null ? null : Number(row.complete_tick_ms),
    adopted,
  };
}

interface VersionRow {
  readonly tenant: string;
  readonly suite_hash: string;
  readonly document: unknown;
  readonly scored_tick_ms: bigint | null;
  readonly judged_after_ms: bigint | null;
  readonly complete_tick_ms: bigint | null;
  readonly ended: boolean;
  readonly active_hash: string;
  readonly active_scored_ms: bigint | null;
}

export type Claim = ShardKey & Pick<Shard, 'worker'>;

const OF_CLAIM = `rollout_id = $1 and topic = $2 and partition = $3 and worker = $4 and state = 'running'`;

function claimValues({ rolloutId, topic, partition, worker }: Claim): unknown[] {
  return [rolloutId, topic, partition, worker];
}

const CLAIMED =
  'c.rollout_id, c.topic, c.partition, c.tenant, c.until_offset, c.until_line, c.next_offset, to_jsonb(c.merged_hours) as merged_hours';

/**
 * Claims all that is left of a rollout's history under one name, also what a worker has under way, whose next commit then changes nothing. Where
 * `holdMs` runs out, workers may take it over.
 */
export async function claimRollout(
  tx: Tx,
  rolloutId: string,
  worker: string,
  holdMs: number,
): Promise<readonly Shard[]> {
  const rows = await tx.query<ClaimedRow>(
    `update recomputes c set state = 'running', worker = $2, lease_until = clock_timestamp() + $3 * interval '1 ms', failure = null,
       changed_at = clock_timestamp()
     where c.rollout_id = $1 and c.state in ('waiting', 'running', 'failed') returning ${CLAIMED}`,
    [rolloutId, worker, holdMs],
  );
  const shards: Shard[] = [];
  for (const row of rows) {
    const shard = await shardOf(tx, row, worker);
    if (shard !== undefined) shards.push(shard);
  }
  return shards.sort((a, b) => a.partition - b.partition);
}

/** The shard that a claim holds, its row locked; undefined: it holds none. */
export async function heldShard(tx: Tx, claim: Claim): Promise<Shard | undefined> {
  const rows = await tx.query<ClaimedRow>(
    `select ${CLAIMED} from recomputes c where ${OF_CLAIM} for update`,
    claimValues(claim),
  );
  return rows[0] === undefined ? undefined : shardOf(tx, rows[0], claim.worker);
}

/** Adds panes of a shard whose row is locked, without those that are kept no more, and those that are in with their whole hour. */
export async function addKeptPanes(tx: Tx, shard: Shard, scoredTickMs: number, panes: readonly Pane[]): Promise<void> {
  // The consumer may have gone on, and removed panes, since the shard was claimed.
  const kept = panes.filter(
    ({ resolution, paneStartMs }) =>
      paneStartMs >= keptFromMs(resolution, scoredTickMs) && !shard.mergedHours.has(hourOf(paneStartMs)),
  );
  await addPanes(tx, shard.tenant, shard.suite.name, kept);
}

/**
 * Adds what a stretch of the log did, and moves the shard from exactly `from` to `to`: all or nothing, once. The row stays locked,
 * so that the rollout's end waits for it.
 */
export async function commitStretch(
  tx: Tx,
  shard: Shard,
  stretch: Step & { readonly panes: readonly Pane[] },
  leaseMs: number,
): Promise<void> {
  await moveShard(tx, shard, stretch, leaseMs);
  const version = await loadVersion(tx, shard.rolloutId);
  if (version === undefined) throw new StaleShard(`the version of ${shard.rolloutId} is kept no more`);
  await addKeptPanes(tx, shard, version.scoredTickMs, stretch.panes);
}

interface Step {
  readonly from: bigint;
  readonly to: bigint;
  readonly counts: ShardCounts;
}

/** Throws StaleShard where the claim does not hold it at `from`. */
export async function moveShard(tx: Tx, shard: Shard, { from, to, counts }: Step, leaseMs: number): Promise<void> {
  const moved = await tx.execute(
    `update recomputes set next_offset = $6, counted = counted + $7, late = late + $8, refused = refused + $9, outdated = outdated + $10, tries = 0,
       lease_until = clock_timestamp() + $11 * interval '1 ms', changed_at = clock_timestamp()
     where ${OF_CLAIM} and next_offset = $5`,
    [...claimValues(shard), from, to, counts.counted, counts.late, counts.refused, counts.outdated, leaseMs],
  );
  if (moved !== 1)
    throw new StaleShard(`${shard.topic}/${shard.partition} of ${shard.rolloutId} is not ours at ${from}`);
}

/** Says that all panes of these hours are in, with whatever the transaction adds. Throws StaleShard. */
export async function endHours(tx: Tx, claim: Claim, hours: readonly number[], leaseMs: number): Promise<void> {
  const ended = await tx.execute(
    `update recomputes set merged_hours = merged_hours || $5::integer[], changed_at = clock_timestamp(),
       lease_until = greatest(lease_until, clock_timestamp() + $6 * interval '1 ms')
     where ${OF_CLAIM} and not merged_hours && $5::integer[]`,
    [...claimValues(claim), hours, leaseMs],
  );
  if (ended !== 1) throw new StaleShard(`${claim.topic}/${claim.partition} of ${claim.rolloutId} is not ours any more`);
}

/** Holds the claim for another while. Throws StaleShard. */
export async function renewLease(tx: Tx, claim: Claim, leaseMs: number): Promise<void> {
  const renewed = await tx.execute(
    `update recomputes set lease_until = clock_timestamp() + $5 * interval '1 ms' where ${OF_CLAIM}`,
    [...claimValues(claim), leaseMs],
  );
  if (renewed !== 1)
    throw new StaleShard(`${claim.topic}/${claim.partition} of ${claim.rolloutId} is not ours any more`);
}

/** Ends the claim; nothing where it is not held any more. */
export async function endShard(
  tx: Tx,
  claim: Claim,
  state: 'waiting' | 'done' | 'failed' | 'stopped',
  failure: string | null = null,
): Promise<void> {
  await tx.execute(
    `update recomputes set state = $5, failure = $6, worker = null, lease_until = null, changed_at = clock_timestamp() where ${OF_CLAIM}`,
    [...claimValues(claim), state, failure],
  );
}

/** Gives the claim back after a fault of what was handled; at the `maxTries`th one since the last step forward the shard has failed. */
export async function missShard(tx: Tx, claim: Claim, failure: string, maxTries: number): Promise<void> {
  await tx.execute(
    `update recomputes set state = case when tries + 1 >= $6 then 'failed' else 'waiting' end, tries = tries + 1, failure = $5,
       worker = null, lease_until = null, changed_at = clock_timestamp() where ${OF_CLAIM}`,
    [...claimValues(claim), failure, maxTries],
  );
}

/** Shards by state of rollouts that are open and not finished, and messages that are left to them. */
export async function loadProgress(
  tx: Tx,
): Promise<{ readonly states: ReadonlyMap<string, number>; readonly messagesLeft: number }> {
  const rows = await tx.query<{ state: string; shards: bigint; left: string | null }>(
    `select state, count(*) as shards, sum(greatest(until_offset - next_offset, 0))::text as left from recomputes
     where finished_at is null and exists (select 1 from rollout_states o where o.rollout_id = recomputes.rollout_id and not o.ended)
     group by state`,
  );
  const open = rows.filter((row) => row.state === 'waiting' || row.state === 'running');
  return {
    states: new Map(rows.map((row) => [row.state, Number(row.shards)])),
    messagesLeft: open.reduce((total, row) => total + Number(row.left ?? 0), 0),
  };
}
