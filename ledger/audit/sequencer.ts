import { assert } from '../../core/assert.ts';
import {
  appendLeaves,
  type CompactRange,
  EMPTY_RANGE,
  type Hash,
  nodesOfRange,
  rootOfRange,
  type StoredNode,
} from '../../core/merkle.ts';
import { OperatingError } from '../../core/operating-error.ts';
import type { Clock } from '../../platform/clock.ts';
import { type Database, StaleLeader, type Tx } from '../../platform/postgres.ts';
import type { Signer } from '../../platform/signer.ts';
import { type Checkpoint, DEFAULT_ORIGIN, parseNote, signCheckpoint } from './checkpoint.ts';
import { completeRotation, type HeldKeys, heldKey, type KeysNow, tellRotation } from './key-history.sql.ts';
import { readNodes, treeSizeOf } from './nodes.ts';

/**
 * The one fenced drainer: gives recorded events their place in the tree (seq = leaf index, from 0, no gap), and signs what
 * is new. Events become durable with the change they tell of; that they are sealed a moment later keeps chaining out of
 * every other transaction (chained inline it costs 3.5 times the throughput).
 */

/** Events sequenced in one transaction; only their hashes leave the database. */
export const SEQUENCE_BATCH = 4_096;
/** A checkpoint is signed for so many new events, or for any after this long (where `checkpointEveryMs` says nothing else). */
export const CHECKPOINT_EVENTS = 256;
export const CHECKPOINT_INTERVAL_MS = 1_000;
/** How often the loop looks when there was nothing to do. */
export const IDLE_MS = 200;
/** After a failure: doubles from the first to the second. Nothing is lost meanwhile, the trail only gets older. */
export const RETRY_MIN_MS = 100;
export const RETRY_MAX_MS = 2_000;
export const SIGN_TIMEOUT_MS = 10_000;
/** `awaitSealed` looks this often. */
const SEALED_POLL_MS = 50;

export interface SequenceResult {
  /** Events given their place by this call. */
  readonly sequenced: number;
  /** A full batch was taken: there may be more. */
  readonly more: boolean;
  readonly treeSize: number;
  /** Signed by this call. */
  readonly checkpoint: Checkpoint | undefined;
}

export interface SequencerOptions {
  /** Names this log in its checkpoints; no white space, no plus. */
  readonly origin?: string;
  /** The longest that a sequenced event waits for its checkpoint; CHECKPOINT_INTERVAL_MS where absent. */
  readonly checkpointEveryMs?: number;
  /** Of a trail whose keys are noted: the one in use signs, and where another was asked for, this goes over to it. */
  readonly keys?: HeldKeys;
}

/**
 * Sequences one batch and signs a checkpoint where one is due. Throws StaleLeader where another leads, and OperatingError
 * where the signer fails: then the batch is sequenced, and the next call signs it.
 */
export async function sequenceOnce(
  db: Database,
  epoch: bigint,
  signer: Signer,
  clock: Clock,
  options: SequencerOptions = {},
): Promise<SequenceResult> {
  const everyMs = options.checkpointEveryMs ?? CHECKPOINT_INTERVAL_MS;
  const seen = await db.asEngine(look);
  const { last } = seen;
  const keys = keysFor(signer, seen, options.keys);
  if (!keys.tell && !seen.unsequenced && !isDue(seen.treeSize, last, clock.now(), everyMs)) {
    return { sequenced: 0, more: false, treeSize: seen.treeSize, checkpoint: undefined };
  }
  const taken = await db.asLeader(epoch, async (tx) => {
    if (keys.tell) await tellRotation(tx, clock.now());
    return sequenceBatch(tx);
  });
  const treeSize = taken.range.size;
  const result = { sequenced: taken.sequenced, more: taken.sequenced === SEQUENCE_BATCH, treeSize };
  if (!keys.tell && !isDue(treeSize, last, clock.now(), everyMs)) return { ...result, checkpoint: undefined };
  const unsigned = {
    origin: options.origin ?? DEFAULT_ORIGIN,
    treeSize,
    rootHash: rootOfRange(taken.range),
    // Where the clock went back, time stands still: that of checkpoints never does.
    atMs: Math.max(clock.now(), last?.atMs ?? 0),
  };
  // The signer may be far away: never inside a transaction.
  const { keyId } = keys.signer;
  const note = await withTimeout(signCheckpoint(keys.signer, unsigned));
  await db.asLeader(epoch, async (tx) => {
    await tx.execute(
      'insert into audit_checkpoints (tree_size, root_hash, note) values ($1, $2, $3) on conflict (tree_size) do nothing',
      [treeSize, unsigned.rootHash, note],
    );
    if (keys.rotating) await completeRotation(tx, treeSize, unsigned.atMs);
  });
  return { ...result, checkpoint: { ...unsigned, keyId } };
}

/** Who signs. A change is begun only by who has both keys, and nobody else brings it to its end. */
function keysFor(
  given: Signer,
  { inUse, asked }: KeysNow,
  keys: HeldKeys | undefined,
): { readonly signer: Signer; readonly tell: boolean; readonly rotating: boolean } {
  if (keys === undefined || inUse === undefined) return { signer: given, tell: false, rotating: false };
  if (asked?.told === true) heldKey(keys, asked.keyId);
  const tell = asked !== undefined && !asked.told && keys.held(asked.keyId) !== undefined;
  return { signer: heldKey(keys, inUse), tell, rotating: tell || asked?.told === true };
}

function isDue(treeSize: number, last: Checkpoint | undefined, nowMs: number, everyMs: number): boolean {
  if (last === undefined) return treeSize > 0;
  const fresh = treeSize - last.treeSize;
  if (fresh <= 0) return false;
  // A clock that went back must not hold the seal up.
  const sinceMs = nowMs - last.atMs;
  return fresh >= CHECKPOINT_EVENTS || sinceMs >= everyMs || sinceMs < 0;
}

async function withTimeout(note: Promise<string>): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new OperatingError('timeout', 'safe', 'signing an audit checkpoint')),
      SIGN_TIMEOUT_MS,
    );
  });
  try {
    return await Promise.race([note, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** One statement: an idle loop asks five times a second. */
async function look(tx: Tx): Promise<
  KeysNow & {
    readonly unsequenced: boolean;
    readonly treeSize: number;
    readonly last: Checkpoint | undefined;
  }
> {
  const rows = await tx.query<{
    unsequenced: boolean;
    size: bigint;
    note: string | null;
    in_use: string | null;
    asked: string | null;
    told: boolean | null;
  }>(
    `select exists (select 1 from audit_events where seq is null) as unsequenced,
            coalesce((select position + 1 from audit_nodes where level = 0 order by position desc limit 1), 0) as size,
            (select note from audit_checkpoints order by tree_size desc limit 1) as note,
            (select key_id from signer_keys where valid_from is not null and valid_to is null) as in_use,
            asked.key_id as asked, asked.event_id is not null as told
     from (values (1)) one left join signer_keys asked on asked.valid_from is null`,
  );
  const row = rows[0];
  assert(row !== undefined, 'a left join from one row has one');
  return {
    unsequenced: row.unsequenced,
    treeSize: Number(row.size),
    last: row.note === null ? undefined : checkpointOf(row.note),
    inUse: row.in_use ?? undefined,
    asked: row.asked === null ? undefined : { keyId: row.asked, told: row.told === true },
  };
}

function checkpointOf(note: string): Checkpoint {
  const parsed = parseNote(note);
  assert(parsed !== undefined, 'a stored checkpoint has the form we write');
  return parsed.checkpoint;
}

async function sequenceBatch(tx: Tx): Promise<{ readonly sequenced: number; readonly range: CompactRange }> {
  const range = await readRange(tx);
  const rows = await tx.query<{ event_id: string; leaf: Buffer }>(
    `select event_id, sha256('\\x00'::bytea || bytes) as leaf from audit_events
     where seq is null order by recorded_no limit ${SEQUENCE_BATCH}`,
  );
  if (rows.length === 0) return { sequenced: 0, range };
  const leaves: readonly Hash[] = rows.map((row) => row.leaf);
  const appended = appendLeaves(range, leaves);
  const touched = await tx.execute(
    `update audit_events e set seq = n.seq, leaf_hash = n.leaf
     from unnest($1::text[], $2::bigint[], $3::bytea[]) as n (event_id, seq, leaf) where e.event_id = n.event_id`,
    [rows.map((row) => row.event_id), rows.map((_, i) => range.size + i), leaves],
  );
  assert(touched === rows.length, 'every event of the batch gets its place');
  await writeNodes(tx, appended.nodes);
  return { sequenced: rows.length, range: appended.range };
}

async function readRange(tx: Tx): Promise<CompactRange> {
  const size = await treeSizeOf(tx);
  if (size === 0) return EMPTY_RANGE;
  const peaks = nodesOfRange({ begin: 0, end: size });
  const hashes = await readNodes(tx, peaks);
  return { size, peaks: peaks.map(hashes) };
}

async function writeNodes(tx: Tx, nodes: readonly StoredNode[]): Promise<void> {
  await tx.execute(
    'insert into audit_nodes (level, position, hash) select * from unnest($1::smallint[], $2::bigint[], $3::bytea[])',
    [nodes.map((node) => node.level), nodes.map((node) => node.index), nodes.map((node) => node.hash)],
  );
}

/** The newest signed checkpoint. Any transaction. */
export async function latestNote(tx: Tx): Promise<(Checkpoint & { readonly note: string }) | undefined> {
  const rows = await tx.query<{ note: string }>('select note from audit_checkpoints order by tree_size desc limit 1');
  const note = rows[0]?.note;
  return note === undefined ? undefined : { ...checkpointOf(note), note };
}

/**
 * Age of the oldest event that is not under a signed checkpoint, 0 where there is none; at `nowMs`, or at this moment by the clock that
 * recorded it, Postgres' own. An engine's or leader's transaction: a tenant's sees its own events only.
 */
export async function trailAgeMs(tx: Tx, nowMs?: number): Promise<number> {
  const rows = await tx.query<{ oldest: Date | null; now: Date }>(
    `select least(
       (select recorded_at from audit_events where seq is null order by recorded_no limit 1),
       (select recorded_at from audit_events
        where seq >= (select coalesce(max(tree_size), 0) from audit_checkpoints) order by seq limit 1)) as oldest,
       clock_timestamp() as now`,
  );
  const row = rows[0];
  assert(row !== undefined, 'a select without from has one row');
  return row.oldest === null ? 0 : Math.max(0, (nowMs ?? row.now.getTime()) - row.oldest.getTime());
}

/**
 * Waits until the oldest unsealed event is at most `maxAgeMs` old (0: everything is sealed). False where `signal` came
 * first.
 */
export async function awaitSealed(
  db: Pick<Database, 'asEngine'>,
  clock: Clock,
  signal: AbortSignal,
  maxAgeMs = 0,
): Promise<boolean> {
  while (!signal.aborted) {
    const sealed = await db.asEngine(async (tx) => {
      if (maxAgeMs > 0) return (await trailAgeMs(tx, clock.now())) <= maxAgeMs;
      return (await unsealedCount(tx)) === 0;
    });
    if (sealed) return true;
    await clock.sleep(SEALED_POLL_MS, signal);
  }
  return false;
}

/** Up to `SEQUENCE_BATCH`: whether there is a backlog, not how long it is. */
async function unsealedCount(tx: Tx): Promise<number> {
  const rows = await tx.query<{ n: bigint }>(
    `select count(*) as n from (
       select 1 from audit_events where seq is null
       union all
       select 1 from audit_events where seq >= (select coalesce(max(tree_size), 0) from audit_checkpoints)
       limit ${SEQUENCE_BATCH}) backlog`,
  );
  return Number(rows[0]?.n ?? 0n);
}

/** What the loop tells; the wiring binds it to the log and to merit_audit_events_total, merit_audit_unsealed_age_seconds. */
export interface SequencerWatch {
  sequenced(events: number): void;
  unsealedAge(seconds: number): void;
  sealed(checkpoint: Checkpoint): void;
  /** `retryInMs` until the next try. */
  failed(error: unknown, retryInMs: number): void;
}

export interface SequencerDeps extends SequencerOptions {
  readonly db: Database;
  readonly epoch: bigint;
  readonly signer: Signer;
  readonly clock: Clock;
  readonly watch?: SequencerWatch;
}

/** Seals until `signal`. Failures are retried with back-off; only StaleLeader ends it (it is thrown: another leads). */
export async function runSequencer(deps: SequencerDeps, signal: AbortSignal): Promise<void> {
  const { db, epoch, signer, clock, watch } = deps;
  let failures = 0;
  while (!signal.aborted) {
    let pauseMs = Math.min(IDLE_MS, deps.checkpointEveryMs ?? IDLE_MS);
    try {
      const result = await sequenceOnce(db, epoch, signer, clock, deps);
      failures = 0;
      if (result.sequenced > 0) watch?.sequenced(result.sequenced);
      if (result.checkpoint !== undefined) watch?.sealed(result.checkpoint);
      if (result.more) pauseMs = 0;
    } catch (error) {
      if (error instanceof StaleLeader) throw error;
      pauseMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** Math.min(failures++, 10));
      watch?.failed(error, pauseMs);
    }
    if (watch !== undefined) await tellAge(db, clock, watch);
    if (pauseMs > 0) await clock.sleep(pauseMs, signal);
  }
}

async function tellAge(db: Database, clock: Clock, watch: SequencerWatch): Promise<void> {
  try {
    const ageMs = await db.asEngine((tx) => trailAgeMs(tx, clock.now()));
    watch.unsealedAge(ageMs / 1_000);
  } catch {
    // The database is away: the loop's own try tells it.
  }
}
