import { sameHash, verifyConsistency } from '../../core/merkle.ts';
import { OperatingError } from '../../core/operating-error.ts';
import type { Database, Tx } from '../../platform/postgres.ts';
import { withSpan } from '../../platform/trace.ts';
import type { WitnessEntry, WitnessStore } from '../../platform/witness-store.ts';
import { verifyNote } from './checkpoint.ts';
import { trailRoots } from './key-history.sql.ts';
import { readLine } from './lines.ts';
import { readConsistency, rootAt, treeSizeOf } from './nodes.ts';
import { latestNote } from './sequencer.ts';
import { holdRestarts, silentText, tellsOf, untoldOf, WitnessGenerations } from './witness-generations.ts';
import {
  type CheckpointRecord,
  type Left,
  RESTARTED,
  type RestartRecord,
  readWitness,
  restartName,
  type WitnessRecord,
  witnessBytes,
  witnessName,
} from './witness-record.ts';

/**
 * The trail and its witness: checkpoints are copied where nobody can take them back, and a trail that is shorter than its copy, or another one, is not
 * gone on with. Whoever owns the database can rewrite it all, keys and tree included; not what the witness holds.
 */

const FIRST_GENERATION = 1;
/** As many generations without a record are mended by a restart; a place where more were made up is given up. */
export const MAX_SILENT = 16;

/** The newest record; undefined: there is none yet. Throws OperatingError `witness` where it cannot be read as one. */
export async function newestWitness(store: WitnessStore): Promise<WitnessRecord | undefined> {
  for await (const entry of store.entries()) return recordIn(store, entry);
  return undefined;
}

function recordIn({ place }: WitnessStore, { name, bytes }: WitnessEntry): WitnessRecord {
  const record = readWitness(bytes);
  if (record !== undefined && witnessName(record) === name) return record;
  throw new OperatingError('witness', 'never', `reading the witness ${place}`, {
    cause: `${name} is no record of Merit`,
    mend: 'name a place that only Merit writes to (docs/audit.md)',
  });
}

export type TrailCheck =
  | { readonly kind: 'holds'; readonly witnessed: number; readonly size: number; readonly generation: number }
  | {
      readonly kind: 'shorter' | 'inconsistent';
      readonly witnessed: number;
      readonly size: number;
      readonly generation: number;
      readonly problem: string;
      /** Generations that began without a record, oldest first; absent: none did. */
      readonly silent?: readonly number[];
    };

/** Whether this trail is the one that was witnessed, or goes on from it. `known` is its newest record, where the caller has just read it. */
export async function checkTrail(
  db: Pick<Database, 'asEngine'>,
  store: WitnessStore,
  known?: WitnessRecord,
): Promise<TrailCheck> {
  const newest = known ?? (await newestWitness(store));
  if (newest === undefined) return db.asEngine((tx) => compare(tx, undefined));
  const { restarts, silent } = await restartsOf(store, newest.generation);
  const [first] = silent;
  // What the last generation had seen that began as it must.
  const before = first === undefined ? undefined : (await newestOfEach(store, first - 1)).get(first - 1);
  return db.asEngine(async (tx) => {
    if (first !== undefined) {
      const problem = `${silentText(first)}; ${againstBefore(first - 1, await compare(tx, before))}`;
      return { ...notWhole(await treeSizeOf(tx), newest, problem), silent };
    }
    const told = await toldRestarts(tx, restarts);
    const [untold] = holdRestarts(restarts, told).untold.toReversed();
    if (untold === undefined) return compare(tx, newest);
    return notWhole(await treeSizeOf(tx), newest, `there is a restart ${untoldOf(untold.generation)}`);
  });
}

function againstBefore(generation: number, check: TrailCheck): string {
  if (check.kind !== 'holds') return `of generation ${generation}, the last one before it, ${check.problem}`;
  return `the trail of ${check.size} events holds all ${check.witnessed} that generation ${generation}, the last one before it, has seen`;
}

interface Restarts {
  /** Oldest first. */
  readonly restarts: readonly RestartRecord[];
  /** Generations after the first that have no such record, oldest first; not all of them where they are more than MAX_SILENT. */
  readonly silent: readonly number[];
}

/** The records by which generations after the first began. */
export async function restartsOf(store: WitnessStore, newest: number): Promise<Restarts> {
  const restarts: RestartRecord[] = [];
  const silent: number[] = [];
  for (let generation = 2; generation <= newest && silent.length <= MAX_SILENT; generation++) {
    const record = await restartOf(store, generation);
    if (record !== undefined) restarts.push(record);
    else silent.push(generation);
  }
  return { restarts, silent };
}

/** The record by which a generation began; undefined: there is none. */
export async function restartOf(store: WitnessStore, generation: number): Promise<RestartRecord | undefined> {
  const bytes = await store.read(restartName(generation));
  const record = bytes === undefined ? undefined : readWitness(bytes);
  // One of another generation, copied under this name, begins none here.
  return record?.kind === 'restart' && record.generation === generation ? record : undefined;
}

/** Generations that had seen more than the restarts after them say: every record is read. */
export async function lateIn(store: WitnessStore): Promise<readonly Left[]> {
  const generations = new WitnessGenerations();
  for await (const entry of store.entries()) generations.take(recordIn(store, entry));
  return generations.late();
}

/** The newest record of each generation from this one on; of this one no more than that record is read. */
export async function newestOfEach(store: WitnessStore, from: number): Promise<ReadonlyMap<number, WitnessRecord>> {
  const newest = new Map<number, WitnessRecord>();
  for await (const entry of store.entries()) {
    const record = recordIn(store, entry);
    if (record.generation < from) break;
    if (!newest.has(record.generation)) newest.set(record.generation, record);
    if (record.generation === from) break;
  }
  return newest;
}

function notWhole(size: number, newest: WitnessRecord, problem: string): TrailCheck {
  return {
    kind: 'inconsistent',
    witnessed: sizeIn(newest),
    size,
    generation: newest.generation,
    problem: `of its witness ${problem}`,
  };
}

export function sizeIn(record: WitnessRecord): number {
  return record.kind === 'restart' ? record.restart.treeSize : record.checkpoint.treeSize;
}

/** The generations of which events tell, those without a place yet among them. */
export async function toldRestarts(tx: Tx, restarts: readonly RestartRecord[]): Promise<ReadonlySet<number>> {
  if (restarts.length === 0) return new Set();
  const rows = await tx.query<{ bytes: Buffer }>(
    'select bytes from audit_events where event_id = any($1::text[]) and type = $2',
    [restarts.map(({ restart }) => restart.eventId), RESTARTED],
  );
  const events = rows.map(({ bytes }) => readLine(bytes)).filter((line) => typeof line !== 'string');
  return new Set(restarts.filter((one) => events.some((event) => tellsOf(event, one))).map((one) => one.generation));
}

async function compare(tx: Tx, newest: WitnessRecord | undefined): Promise<TrailCheck> {
  const size = await treeSizeOf(tx);
  if (newest === undefined) return { kind: 'holds', witnessed: 0, size, generation: FIRST_GENERATION };
  const { generation } = newest;
  const witnessed = sizeIn(newest);
  if (size < witnessed) {
    const problem = `it holds ${size} events, and the witness has seen ${witnessed}`;
    return { kind: 'shorter', witnessed, size, generation, problem };
  }
  if (newest.kind === 'restart') return { kind: 'holds', witnessed, size, generation };
  if (!sameHash(await rootAt(tx, witnessed), newest.checkpoint.rootHash)) {
    const problem = `its first ${witnessed} events are not those that the witness has seen`;
    return { kind: 'inconsistent', witnessed, size, generation, problem };
  }
  const check = verifyNote(newest.note, await trailRoots(tx));
  if (check.ok) return { kind: 'holds', witnessed, size, generation };
  return { kind: 'inconsistent', witnessed, size, generation, problem: `the witness’ checkpoint ${check.problem}` };
}

/** Throws OperatingError `witness`, with the way out, where the trail is shorter than its witness or another one. */
export async function requireWitnessed(db: Pick<Database, 'asEngine'>, store: WitnessStore): Promise<void> {
  const check = await checkTrail(db, store);
  if (check.kind === 'holds') return;
  throw new OperatingError('witness', 'never', `comparing the audit trail with its witness ${store.place}`, {
    cause: check.problem,
    mend: check.silent === undefined ? PUT_BACK : SILENT,
  });
}

const PUT_BACK =
  'point the server at the database that has all of it. Was it put back to an earlier time on purpose: ' +
  'merit start --restart-witness "why"; what was lost stays told (docs/audit.md)';
const SILENT =
  'somebody else wrote there, or took a record away: keep what is there (merit audit witness --from PLACE --out FILE), see that only Merit writes there, and look whether ' +
  'anything of the trail is lost. Then merit start --restart-witness "why"; what was found stays told (docs/audit.md)';

export function entryOf(record: WitnessRecord): readonly [name: string, bytes: Uint8Array] {
  return [witnessName(record), witnessBytes(record)];
}

export interface WitnessLag {
  /** Events under a signed checkpoint that no witness has seen, and for how long the oldest such checkpoint waits. */
  readonly events: number;
  readonly seconds: number;
}

export interface PushResult {
  /** The witness' newest, after it. */
  readonly record: WitnessRecord | undefined;
  readonly pushed: boolean;
}

/**
 * Copies the newest checkpoint, where the witness has not seen it. `known` is its newest record, where the caller remembers it. Any process may: of two
 * one is first. Throws OperatingError `witness` where the trail does not go on from what was witnessed.
 */
export async function pushWitness(
  db: Pick<Database, 'asEngine'>,
  store: WitnessStore,
  known?: WitnessRecord,
): Promise<PushResult> {
  return withSpan('witness.push', {}, async () => {
    let newest = known ?? (await newestWitness(store));
    let record = await db.asEngine((tx) => nextRecord(tx, newest, store.place));
    if (record !== undefined && known !== undefined) {
      // Another process may have written since: what comes next goes on from that.
      newest = await newestWitness(store);
      record = await db.asEngine((tx) => nextRecord(tx, newest, store.place));
    }
    if (record !== undefined) await store.put(...entryOf(record));
    return { record: record ?? newest, pushed: record !== undefined };
  });
}

async function nextRecord(
  tx: Tx,
  newest: WitnessRecord | undefined,
  place: string,
): Promise<CheckpointRecord | undefined> {
  const last = await latestNote(tx);
  if (last === undefined) return undefined;
  const { note, ...checkpoint } = last;
  const generation = newest?.generation ?? FIRST_GENERATION;
  if (newest === undefined || newest.kind === 'restart') {
    if (newest !== undefined && !(await seals(tx, newest, checkpoint.treeSize))) return undefined;
    return { kind: 'checkpoint', generation, note, checkpoint, previous: 0, proof: [] };
  }
  const seen = newest.checkpoint;
  if (checkpoint.treeSize === seen.treeSize && sameHash(checkpoint.rootHash, seen.rootHash)) return undefined;
  const proof =
    checkpoint.treeSize < seen.treeSize ? [] : await readConsistency(tx, seen.treeSize, checkpoint.treeSize);
  if (!verifyConsistency(seen.treeSize, checkpoint.treeSize, seen.rootHash, checkpoint.rootHash, proof)) {
    throw new OperatingError('witness', 'never', `copying a checkpoint to the witness ${place}`, {
      cause: `the trail of ${checkpoint.treeSize} events does not extend the ${seen.treeSize} that the witness has seen`,
      mend: 'end the server: its database has lost, or changed, what was witnessed (docs/audit.md)',
    });
  }
  return { kind: 'checkpoint', generation, note, checkpoint, previous: seen.treeSize, proof };
}

/** A new generation begins with a checkpoint over the event that tells of it. */
async function seals(tx: Tx, { restart }: RestartRecord, treeSize: number): Promise<boolean> {
  const rows = await tx.query('select 1 from audit_events where event_id = $1 and seq < $2', [
    restart.eventId,
    treeSize,
  ]);
  return rows.length > 0;
}

/** How far the witness is behind, where `newest` is what it has. */
export async function witnessLag(tx: Tx, newest: WitnessRecord | undefined, nowMs: number): Promise<WitnessLag> {
  const seen = newest?.kind === 'checkpoint' ? newest.checkpoint.treeSize : 0;
  const rows = await tx.query<{ newest: bigint | null; oldest: Date | null }>(
    `select max(tree_size) as newest, min(created_at) as oldest from audit_checkpoints where tree_size > $1`,
    [seen],
  );
  const [row] = rows;
  if (row?.newest == null || row.oldest === null) return { events: 0, seconds: 0 };
  return { events: Number(row.newest) - seen, seconds: Math.max(0, nowMs - row.oldest.getTime()) / 1000 };
}
