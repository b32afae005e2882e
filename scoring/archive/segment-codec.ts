import { promisify } from 'node:util';
import { constants, zstdCompress, zstdDecompress } from 'node:zlib';
import { canonicalText } from '../../core/canonical.ts';
import { check, type Static, Type } from '../../core/schema.ts';
import { type LogMessage, MAX_MESSAGE_BYTES } from '../../platform/event-log.ts';

/**
 * A segment of the archive is text as far as its messages are: a first line of JSON that says which stretch of the log it is, then for
 * each message a line of JSON and, behind it, as many bytes as that line says, and a newline. All of it compressed by zstd, so that
 * `zstd -dc` shows it to whoever has nothing else.
 */
export const SEGMENT_FORMAT = 'merit/archive-segment/v1';

/** A segment is cut when its messages' values pass this, so it is at most one message longer. */
export const MAX_SEGMENT_BYTES = 16 * 1024 * 1024;
export const MAX_SEGMENT_MESSAGES = 16_384;
/** What the lines about messages may come to beside their values; keys and headers are bounded by the door and by the broker. */
const MAX_HEAD_BYTES = 64 * 1024 * 1024;
/** No segment is longer, unpacked; a longer one is none of ours. */
const MAX_UNPACKED_BYTES = MAX_SEGMENT_BYTES + MAX_MESSAGE_BYTES + MAX_HEAD_BYTES;
const NEWLINE = 0x0a;

const Digits = Type.String({ maxLength: 19, pattern: '^(0|[1-9][0-9]*)$' });

/** The stretch [from, next) of one partition of one life of a topic. */
const SegmentHead = Type.Object(
  {
    format: Type.Literal(SEGMENT_FORMAT),
    topic: Type.String({ maxLength: 249 }),
    generation: Type.String({ maxLength: 64 }),
    partition: Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }),
    from: Digits,
    next: Digits,
    /** The log held nothing before it any more when this was archived; null: it began at `from`. */
    lostBefore: Type.Union([Digits, Type.Null()]),
    messages: Type.Integer({ minimum: 1, maximum: MAX_SEGMENT_MESSAGES }),
  },
  { additionalProperties: false },
);

const MessageHead = Type.Object(
  {
    offset: Digits,
    tenant: Type.String({ maxLength: 256 }),
    key: Type.String({ maxLength: 1024 * 1024 }),
    headers: Type.Record(Type.String({ maxLength: 65_536 }), Type.String({ maxLength: 1024 * 1024 })),
    appendedAt: Type.Number(),
    /** Bytes of the value; null: a tombstone. */
    size: Type.Union([Type.Integer({ minimum: 0, maximum: MAX_MESSAGE_BYTES }), Type.Null()]),
  },
  { additionalProperties: false },
);

export interface Stretch {
  readonly topic: string;
  readonly generation: string;
  readonly partition: number;
  readonly from: bigint;
  readonly next: bigint;
  readonly lostBefore: bigint | null;
}

export interface Segment extends Stretch {
  readonly messages: readonly LogMessage[];
}

/** The segment's text; equal messages give equal bytes. */
export function encodeSegment(segment: Segment): Buffer {
  const { topic, generation, partition, from, next, lostBefore, messages } = segment;
  const head = {
    format: SEGMENT_FORMAT,
    topic,
    generation,
    partition,
    from: String(from),
    next: String(next),
    lostBefore: lostBefore === null ? null : String(lostBefore),
    messages: messages.length,
  };
  const pieces: Uint8Array[] = [Buffer.from(`${canonicalText(head)}\n`)];
  for (const message of messages) {
    pieces.push(Buffer.from(`${messageHeadText(message)}\n`));
    if (message.value !== null) pieces.push(message.value);
    pieces.push(Buffer.of(NEWLINE));
  }
  return Buffer.concat(pieces);
}

/** All of a message but its value, as one line. */
export function messageHeadText({ offset, tenant, key, headers, appendedAtMs, value }: LogMessage): string {
  const size = value === null ? null : value.length;
  return canonicalText({ offset: String(offset), tenant, key, headers, appendedAt: appendedAtMs, size });
}

/** What could be read of a segment: its messages up to the first fault. */
export interface ReadSegment {
  /** undefined: not even the first line could be read. */
  readonly stretch: (Stretch & { readonly count: number }) | undefined;
  readonly messages: readonly LogMessage[];
  /** undefined: it is whole. */
  readonly fault: string | undefined;
}

export function decodeSegment(bytes: Buffer): ReadSegment {
  const first = lineAt(bytes, 0);
  const head = first === undefined ? undefined : parsed<Static<typeof SegmentHead>>(SegmentHead, first.bytes);
  if (first === undefined || head === undefined) return { stretch: undefined, messages: [], fault: 'is no segment' };
  const { topic, generation, partition } = head;
  const stretch = {
    topic,
    generation,
    partition,
    from: BigInt(head.from),
    next: BigInt(head.next),
    lostBefore: head.lostBefore === null ? null : BigInt(head.lostBefore),
    count: head.messages,
  };
  const messages: LogMessage[] = [];
  let at = first.end;
  let least = stretch.from;
  while (at < bytes.length) {
    const line = lineAt(bytes, at);
    const of = line === undefined ? undefined : parsed<Static<typeof MessageHead>>(MessageHead, line.bytes);
    if (line === undefined || of === undefined)
      return { stretch, messages, fault: 'holds what is no message where one begins' };
    const size = of.size ?? 0;
    const offset = BigInt(of.offset);
    if (offset < least || offset >= stretch.next) return { stretch, messages, fault: 'holds a message out of place' };
    if (bytes[line.end + size] !== NEWLINE) return { stretch, messages, fault: 'holds a message of another size' };
    const value = of.size === null ? null : bytes.subarray(line.end, line.end + size);
    const { tenant, key, headers, appendedAt: appendedAtMs } = of;
    messages.push({ tenant, topic, partition, offset, key, value, headers, appendedAtMs });
    least = offset + 1n;
    at = line.end + size + 1;
  }
  const fault = messages.length === stretch.count ? undefined : 'holds another number of messages than it says';
  return { stretch, messages, fault };
}

function lineAt(bytes: Buffer, from: number): { readonly bytes: Buffer; readonly end: number } | undefined {
  const at = bytes.indexOf(NEWLINE, from);
  return at === -1 ? undefined : { bytes: bytes.subarray(from, at), end: at + 1 };
}

/** Not by core/json, which refuses what reports must not hold: keys and headers of a log hold what they like. */
function parsed<T>(schema: Parameters<typeof check>[0], bytes: Buffer): T | undefined {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
  return check(schema, value).length === 0 ? (value as T) : undefined;
}

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

/** Half the CPU of gzip at the same size (12.7 MB of reports: 92 and 180 ms, 1.88 MB both). With zstd's own checksum, so that `zstd -t` tells too. */
export function pack(text: Uint8Array): Promise<Buffer> {
  return compress(text, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
}

/** undefined: it is not what `pack` makes, or longer than a segment may be. */
export async function unpack(packed: Uint8Array): Promise<Buffer | undefined> {
  try {
    return await decompress(packed, { maxOutputLength: MAX_UNPACKED_BYTES });
  } catch {
    return undefined;
  }
}
