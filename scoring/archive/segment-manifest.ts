import { canonicalBytes, type Json, sha256Hex } from '../../core/canonical.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import { check, Type } from '../../core/schema.ts';
import type { Segment } from './segment-codec.ts';

const MANIFEST_FORMAT = 'merit/archive-manifest/v1';

/** What names a segment: the life of a topic, a partition of it, and where it begins. */
export interface SegmentId {
  readonly topic: string;
  readonly generation: string;
  readonly partition: number;
  readonly from: bigint;
}

/** What is known of a segment, in Postgres and beside it. It follows from the segment and the manifest before, so whoever writes it writes the same. */
export interface SegmentManifest {
  readonly format: typeof MANIFEST_FORMAT;
  readonly topic: string;
  readonly generation: string;
  readonly partition: number;
  readonly from: string;
  readonly next: string;
  readonly lostBefore: string | null;
  readonly messages: number;
  /** Of their values. */
  readonly bytes: number;
  /** Of the stored object. */
  readonly size: number;
  readonly sha256: string;
  /** SHA-256 of the marks of its lines. */
  readonly marks: string;
  readonly firstAppendedAt: string;
  readonly lastAppendedAt: string;
  /** SHA-256 of the manifest of the segment before it in the partition; null: it is the first. */
  readonly previous: string | null;
}

export interface StoredSegment {
  readonly size: number;
  readonly sha256: string;
  readonly marksSha256: string;
}

export function segmentManifest(segment: Segment, stored: StoredSegment, previous: string | null): SegmentManifest {
  const { topic, generation, partition, messages, lostBefore } = segment;
  const times = messages.map((message) => message.appendedAtMs);
  const least = times.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const most = times.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  return {
    format: MANIFEST_FORMAT,
    topic,
    generation,
    partition,
    from: String(segment.from),
    next: String(segment.next),
    lostBefore: lostBefore === null ? null : String(lostBefore),
    messages: messages.length,
    bytes: messages.reduce((total, { value }) => total + (value?.length ?? 0), 0),
    size: stored.size,
    sha256: stored.sha256,
    marks: stored.marksSha256,
    firstAppendedAt: formatRfc3339(Math.floor(least)),
    lastAppendedAt: formatRfc3339(Math.floor(most)),
    previous,
  };
}

/** The bytes that are stored, and their SHA-256, which the next manifest of the partition names. */
export function sealedManifest(manifest: SegmentManifest): { readonly bytes: Buffer; readonly sha256: string } {
  const bytes = canonicalBytes(manifest);
  return { bytes, sha256: sha256Hex(bytes) };
}

const Digits = Type.String({ pattern: '^(0|[1-9][0-9]{0,18})$' });
const Hash = Type.String({ pattern: '^[0-9a-f]{64}$' });
const Manifest = Type.Object(
  {
    format: Type.Literal(MANIFEST_FORMAT),
    topic: Type.String(),
    generation: Type.String(),
    partition: Type.Integer(),
    from: Digits,
    next: Digits,
    lostBefore: Type.Union([Digits, Type.Null()]),
    messages: Type.Integer(),
    bytes: Type.Integer(),
    size: Type.Integer(),
    sha256: Hash,
    marks: Hash,
    firstAppendedAt: Type.String(),
    lastAppendedAt: Type.String(),
    previous: Type.Union([Hash, Type.Null()]),
  },
  { additionalProperties: false },
);

/** The manifest of a segment; undefined: it is not as an archiver writes it. */
export function manifestOf(bytes: Buffer, of: SegmentId): SegmentManifest | undefined {
  try {
    const value = JSON.parse(bytes.toString('utf8')) as Json;
    if (!canonicalBytes(value).equals(bytes) || check(Manifest, value).length > 0) return undefined;
    const manifest = value as unknown as SegmentManifest;
    const { topic, generation, partition, from, next } = manifest;
    const isOf = topic === of.topic && generation === of.generation && partition === of.partition;
    return isOf && from === String(of.from) && BigInt(next) > of.from ? manifest : undefined;
  } catch {
    return undefined;
  }
}

/** Enough for any offset of a log, so that keys sort as offsets do. */
const OFFSET_DIGITS = 19;

/** A segment is named by where it begins, and no other may begin there: two archivers cannot both have one stretch. */
export function segmentKeys(of: SegmentId): {
  readonly segment: string;
  readonly marks: string;
  readonly manifest: string;
} {
  const name = String(of.from).padStart(OFFSET_DIGITS, '0');
  const stem = `${ARCHIVE_PREFIX}${of.topic}/${of.generation}/${of.partition}/${name}`;
  return { segment: `${stem}.zst`, marks: `${stem}.marks`, manifest: `${stem}.json` };
}

/** All of the archive is under it, and nothing else is. */
export const ARCHIVE_PREFIX = 'archive/';
const KEY = /^archive\/([^/]+)\/([^/]+)\/(0|[1-9][0-9]{0,9})\/([0-9]{19})\.(?:zst|marks|json)$/;

/** Which segment an object belongs to, by its key; undefined: it is not laid out as one of ours. */
export function segmentOfKey(key: string): SegmentId | undefined {
  const match = KEY.exec(key);
  if (match === null) return undefined;
  const [, topic = '', generation = '', partition = '', from = ''] = match;
  return { topic, generation, partition: Number(partition), from: BigInt(from) };
}
