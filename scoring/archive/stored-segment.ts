import { sha256Hex } from '../../core/canonical.ts';
import { OperatingError } from '../../core/operating-error.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { firstDifference } from './line-marks.ts';
import { decodeSegment, type Segment, unpack } from './segment-codec.ts';
import { segmentKeys } from './segment-manifest.ts';
import type { SegmentRow } from './segments.sql.ts';

/** What is wrong with a segment, as exactly as can be told. */
export interface SegmentFault {
  /** The object's key. */
  readonly object: string;
  /** null: it cannot be told which. */
  readonly offset: bigint | null;
  /** 1-based in the message. */
  readonly line: number | null;
  readonly problem: string;
}

/** A segment of the archive is not what it was when it was archived. */
export class AlteredSegment extends OperatingError {
  override name = 'AlteredSegment';
  readonly fault: SegmentFault;

  constructor(fault: SegmentFault) {
    super('storage', 'never', 'reading the archive', {
      cause: faultText(fault),
      mend: 'restore the object from a copy or an older version of it',
    });
    this.fault = fault;
  }
}

export function faultText({ object, offset, line, problem }: SegmentFault): string {
  const where = offset === null ? '' : `, offset ${offset}${line === null ? '' : `, line ${line}`}`;
  return `${object}${where}: ${problem}`;
}

/** Objects of the archive are a segment at most, with its marks. */
const MAX_OBJECT_BYTES = 256 * 1024 * 1024;

/** The whole object, or undefined. */
export async function readObject(store: ObjectStore, key: string): Promise<Buffer | undefined> {
  const stream = await store.get(key);
  if (stream === undefined) return undefined;
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of stream) {
    size += (part as Buffer).length;
    if (size > MAX_OBJECT_BYTES) {
      stream.destroy();
      throw new OperatingError('storage', 'never', `reading ${key}`, { cause: 'it is longer than anything archived' });
    }
    parts.push(part as Buffer);
  }
  return Buffer.concat(parts);
}

/** The segment of a row, held to what the row says of it. Throws AlteredSegment, and what the store throws. */
export async function loadSegment(store: ObjectStore, row: SegmentRow): Promise<Segment> {
  const { segment: object } = segmentKeys(row);
  const packed = await readSegmentObject(store, row, object);
  if (sha256Hex(packed) !== row.sha256) throw new AlteredSegment(await locate(store, row, packed));
  const text = await unpack(packed);
  const read = text === undefined ? undefined : decodeSegment(text);
  // What was archived was whole: this is a fault of ours.
  if (read?.stretch === undefined || read.fault !== undefined)
    throw new AlteredSegment({ object, offset: null, line: null, problem: read?.fault ?? 'cannot be unpacked' });
  return { ...read.stretch, messages: read.messages };
}

/** What there is of the object: a store that keeps sums of its objects gives one that changed, and then says so. Hash it. */
async function readSegmentObject(store: ObjectStore, row: SegmentRow, object: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  try {
    const stream = await store.get(object);
    if (stream !== undefined) for await (const part of stream) parts.push(part as Buffer);
    else {
      const problem = row.expired ? 'its time is over, and it was deleted' : 'the segment is missing';
      throw new AlteredSegment({ object, offset: row.from, line: null, problem });
    }
  } catch (error) {
    if (error instanceof AlteredSegment || !(error instanceof OperatingError) || error.code !== 'storage') throw error;
  }
  return Buffer.concat(parts);
}

async function locate(store: ObjectStore, row: SegmentRow, packed: Buffer): Promise<SegmentFault> {
  const { segment: object, marks: marksKey } = segmentKeys(row);
  const text = await unpack(packed);
  if (text === undefined)
    return { object, offset: row.from, line: null, problem: 'it was altered, and cannot be unpacked' };
  const read = decodeSegment(text);
  const marks = await readObject(store, marksKey).catch(() => undefined);
  if (marks === undefined || sha256Hex(marks) !== row.marksSha256)
    return { object, offset: row.from, line: null, problem: 'it was altered, and so were the marks beside it' };
  const found = firstDifference(read.messages, marks);
  if (found !== undefined) return { object, ...found };
  return { object, offset: null, line: null, problem: 'it was altered, though not in a message' };
}
