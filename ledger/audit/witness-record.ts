import { canonicalBytes } from '../../core/canonical.ts';
import type { Hash } from '../../core/merkle.ts';
import { type Checkpoint, parseNote } from './checkpoint.ts';
import { hasMembers, isCount, isHex64, isObject, type JsonObject, readLine } from './lines.ts';

/**
 * What a witness keeps, each one RFC 8785 object and a newline in an object of its own:
 *
 *   {"format":"merit-witness/1","generation":1,"note":…,"previous":1200,"proof":[<hex>…]}
 *
 * a signed checkpoint, with the proof (RFC 6962 2.1.2) that its tree extends the one of `previous` events, the record before it; 0: it is the first.
 * Where a trail was put back to an earlier time, a new generation begins, and says so:
 *
 *   {"format":"merit-witness/1","generation":2,"restart":{"abandoned":{"generation":1,"treeSize":…},"actor":…,"at":…,"eventId":…,"reason":…,"treeSize":…,"untold":[]}}
 *
 * `untold` are the generations whose own restarts no event of the trail that goes on tells of: it was put back to before those. Records of earlier
 * builds have no such member. `late`, where it is there: generations that turned out to have seen more than the restart after them said, `{"generation":1,"treeSize":…}` each.
 *
 * The newest record has the first name: `g<999999 − generation>/<9999999999999999 − tree size>.json`, and `restart.json` after those of its generation.
 */
export interface CheckpointRecord {
  readonly kind: 'checkpoint';
  readonly generation: number;
  readonly note: string;
  readonly checkpoint: Checkpoint;
  readonly previous: number;
  readonly proof: readonly Hash[];
}

export interface Restart {
  /** What was left behind. */
  readonly abandoned: Left;
  /** The size of the trail that goes on. */
  readonly treeSize: number;
  readonly actor: string;
  readonly at: string;
  readonly reason: string;
  /** Of the audit event that tells of it. */
  readonly eventId: string;
  /** Generations whose restarts were lost with their events, newest last; undefined: it does not say. */
  readonly untold: readonly number[] | undefined;
  /** Generations that had seen more than the restart after them said, and how much, oldest first: a checkpoint came late. Absent: none. */
  readonly late?: readonly Left[];
}

/** A generation that was left behind, and how much it had seen. */
export interface Left {
  readonly generation: number;
  readonly treeSize: number;
}

export interface RestartRecord {
  readonly kind: 'restart';
  readonly generation: number;
  readonly restart: Restart;
}

export type WitnessRecord = CheckpointRecord | RestartRecord;

/** The audit event that tells of a restart. */
export const RESTARTED = 'witness.restarted';
const FORMAT = 'merit-witness/1';
export const LAST_GENERATION = 999_999;
/** More than 2^48 leaves, the largest tree. */
const LAST_SIZE = 9_999_999_999_999_999n;

export function witnessName(record: WitnessRecord): string {
  if (record.kind === 'restart') return restartName(record.generation);
  return `${folderOf(record.generation)}/${String(LAST_SIZE - BigInt(record.checkpoint.treeSize)).padStart(16, '0')}.json`;
}

/** Of the record that begins a generation after the first. */
export function restartName(generation: number): string {
  return `${folderOf(generation)}/restart.json`;
}

function folderOf(generation: number): string {
  return `g${String(LAST_GENERATION - generation).padStart(6, '0')}`;
}

export function witnessBytes(record: WitnessRecord): Buffer {
  const { generation } = record;
  const content =
    record.kind === 'restart'
      ? { format: FORMAT, generation, restart: restartJson(record.restart) }
      : {
          format: FORMAT,
          generation,
          note: record.note,
          previous: record.previous,
          proof: record.proof.map((hash) => Buffer.from(hash).toString('hex')),
        };
  return Buffer.concat([canonicalBytes(content), Buffer.of(10)]);
}

function restartJson({ untold, ...told }: Restart) {
  return untold === undefined ? told : { ...told, untold };
}

/** What a record says, its signature not checked yet; undefined where it is not in the one form. */
export function readWitness(bytes: Uint8Array): WitnessRecord | undefined {
  if (bytes.at(-1) !== 10) return undefined;
  const line = readLine(bytes.subarray(0, -1));
  if (typeof line === 'string' || line.format !== FORMAT || !isCount(line.generation)) return undefined;
  const { generation } = line;
  if (generation < 1 || generation > LAST_GENERATION) return undefined;
  return 'restart' in line ? readRestart(line, generation) : readCheckpoint(line, generation);
}

function readRestart(line: JsonObject, generation: number): RestartRecord | undefined {
  const { restart } = line;
  if (!hasMembers(line, 'format', 'generation', 'restart') || !isObject(restart)) return undefined;
  const { abandoned, treeSize, actor, at, reason, eventId, untold, late } = restart;
  const members = [
    'abandoned',
    'actor',
    'at',
    'eventId',
    'reason',
    'treeSize',
    ...(untold === undefined ? [] : ['untold']),
    ...(late === undefined ? [] : ['late']),
  ];
  if (!hasMembers(restart, ...members) || !isObject(abandoned)) return undefined;
  if (untold !== undefined && !areBefore(untold, generation)) return undefined;
  const lateOnes = late === undefined ? [] : leftBefore(late, generation);
  if (lateOnes === undefined) return undefined;
  if (!isCount(abandoned.generation) || !isCount(abandoned.treeSize) || !isCount(treeSize)) return undefined;
  if (typeof actor !== 'string' || typeof at !== 'string' || typeof reason !== 'string' || typeof eventId !== 'string')
    return undefined;
  const left = { generation: abandoned.generation, treeSize: abandoned.treeSize };
  const told = { abandoned: left, treeSize, actor, at, reason, eventId, untold: untold as number[] | undefined };
  return { kind: 'restart', generation, restart: lateOnes.length === 0 ? told : { ...told, late: lateOnes } };
}

/** Generations before this one, each once, in order; undefined where it is no list of those. */
function leftBefore(list: unknown, generation: number): readonly Left[] | undefined {
  if (!Array.isArray(list) || list.length === 0) return undefined;
  const left: Left[] = [];
  for (const one of list) {
    if (!isObject(one) || !hasMembers(one, 'generation', 'treeSize')) return undefined;
    const { generation: before, treeSize } = one;
    if (!isCount(before) || !isCount(treeSize) || before >= generation) return undefined;
    if (before <= (left.at(-1)?.generation ?? 0)) return undefined;
    left.push({ generation: before, treeSize });
  }
  return left;
}

/** Generations that began by a restart before this one, each once, in order. */
function areBefore(list: unknown, generation: number): boolean {
  if (!Array.isArray(list)) return false;
  return list.every((one, i) => isCount(one) && one >= 2 && one < generation && (i === 0 || one > list[i - 1]));
}

function readCheckpoint(line: JsonObject, generation: number): CheckpointRecord | undefined {
  const { note, previous, proof } = line;
  if (!hasMembers(line, 'format', 'generation', 'note', 'previous', 'proof')) return undefined;
  if (typeof note !== 'string' || !isCount(previous) || !Array.isArray(proof) || !proof.every(isHex64))
    return undefined;
  const checkpoint = parseNote(note)?.checkpoint;
  if (checkpoint === undefined || checkpoint.treeSize === 0) return undefined;
  const hashes = (proof as readonly string[]).map((hash) => Buffer.from(hash, 'hex'));
  return { kind: 'checkpoint', generation, note, checkpoint, previous, proof: hashes };
}
