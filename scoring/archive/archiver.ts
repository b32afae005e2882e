import { sha256Hex } from '../../core/canonical.ts';
import { OperatingError } from '../../core/operating-error.ts';
import type { LogMessage } from '../../platform/event-log.ts';
import { StaleLeader } from '../../platform/postgres.ts';
import { loadPositions } from '../ingest/positions.sql.ts';
import { REPORTS_TOPIC } from '../ingest/report-log.ts';
import type { ArchiveContext, ArchiveStep } from './context.ts';
import { deleteExpired } from './expire.ts';
import { generationOf } from './generation.ts';
import { lineMarks } from './line-marks.ts';
import {
  decodeSegment,
  encodeSegment,
  MAX_SEGMENT_BYTES,
  MAX_SEGMENT_MESSAGES,
  pack,
  type Segment,
  unpack,
} from './segment-codec.ts';
import { type StoredSegment, sealedManifest, segmentKeys, segmentManifest } from './segment-manifest.ts';
import { addSegment, type ChainEnd, chainEnd, lifeRead, type Place, StaleArchive } from './segments.sql.ts';
import { readObject } from './stored-segment.ts';
import { trimArchived } from './trim.ts';

/** Between two looks where nothing was to be done. */
const LOOK_MS = 5_000;
/** After a fault. */
const RETRY_MS = 5_000;
/** Read of the log at once. */
const READ_MESSAGES = 1_024;
const READ_BYTES = 4 * 1024 * 1024;

/** What a test may set to other values; production runs on the defaults. */
export interface ArchiverOptions {
  readonly maxSegmentBytes?: number;
}

/**
 * Copies what was consumed of the report log to the object store, lets go of what is older than the policy keeps, and trims the embedded
 * log, until `signal`. One of it runs, with the epoch of its seat; two that believe so cannot harm each other. Throws StaleLeader.
 */
export async function runArchiver(ctx: ArchiveContext, signal: AbortSignal): Promise<void> {
  const archiver = new Archiver(ctx);
  const steps: readonly [ArchiveStep, () => Promise<boolean>][] = [
    ['archive', () => archiver.archive(signal)],
    ['expire', () => deleteExpired(ctx)],
    ['trim', () => trimArchived(ctx)],
  ];
  while (!signal.aborted) {
    let progressed = false;
    let failed = false;
    for (const [step, take] of steps) {
      if (signal.aborted) return;
      try {
        if (await take()) progressed = true;
      } catch (error) {
        if (error instanceof StaleLeader) throw error;
        failed = true;
        ctx.metrics.failed(step);
        const mend = error instanceof OperatingError ? error.mend : undefined;
        ctx.log.error(
          { step, error: String(error), mend },
          'the archive of the report log does not go on; it is tried again',
        );
      }
    }
    if (failed) await ctx.clock.sleep(RETRY_MS, signal);
    else if (!progressed) await ctx.clock.sleep(LOOK_MS, signal);
  }
}

/** The archiver's memory, which only spares it looks, and one step of its loop. */
export class Archiver {
  readonly #ctx: ArchiveContext;
  readonly #maxBytes: number;
  /** By partition: of the segment that begins at `key`, the offset that must be consumed before it may be full. */
  readonly #fullAt = new Map<number, { readonly key: string; readonly offset: bigint }>();

  constructor(ctx: ArchiveContext, options: ArchiverOptions = {}) {
    this.#ctx = ctx;
    this.#maxBytes = options.maxSegmentBytes ?? MAX_SEGMENT_BYTES;
  }

  /** At most one segment of each partition; false where none was due. */
  async archive(signal: AbortSignal): Promise<boolean> {
    const { eventLog, db } = this.#ctx;
    const partitions = await eventLog.partitions(REPORTS_TOPIC);
    const generation = await generationOf(db, eventLog, REPORTS_TOPIC);
    // Of a topic that was made anew, positions are another one's until the consumer has noticed.
    const read = await db.asEngine((tx) => lifeRead(tx, REPORTS_TOPIC));
    if (read !== null && read !== generation) return false;
    let progressed = false;
    for (const partition of partitions) {
      if (signal.aborted) return progressed;
      const place = { topic: REPORTS_TOPIC, generation, partition };
      const { consumed, end } = await db.asEngine(async (tx) => ({
        consumed: (await loadPositions(tx, REPORTS_TOPIC)).get(partition)?.offset ?? 0n,
        end: await chainEnd(tx, place),
      }));
      if (await this.#archiveNext(place, end, consumed)) progressed = true;
    }
    return progressed;
  }

  async #archiveNext(place: Place, end: ChainEnd, consumed: bigint): Promise<boolean> {
    const { clock, db, eventLog, metrics, policy } = this.#ctx;
    const oldest = consumed > end.next ? (await this.#read(place, end.next, consumed, 1))[0] : undefined;
    if (oldest === undefined) {
      metrics.lag(place.partition, 0, 0);
      return false;
    }
    const ageMs = clock.now() - oldest.appendedAtMs;
    metrics.lag(place.partition, Number(consumed - end.next), Math.max(0, ageMs / 1000));
    const key = `${place.generation}/${end.next}`;
    const isDue = ageMs >= policy.segmentAgeMs;
    const fullAt = this.#fullAt.get(place.partition);
    if (!isDue && fullAt?.key === key && consumed < fullAt.offset) return false;
    const messages = await this.#gather(place, end.next, consumed);
    const bytes = bytesOf(messages);
    const isFull = bytes >= this.#maxBytes || messages.length >= MAX_SEGMENT_MESSAGES;
    if (!isFull && !isDue) {
      const offset = end.next + messagesToFill(messages.length, bytes, this.#maxBytes);
      this.#fullAt.set(place.partition, { key, offset });
      return false;
    }
    // The topic may have been made anew while it was read.
    if ((await generationOf(db, eventLog, place.topic)) !== place.generation) return false;
    await this.#store(await this.#segmentOf(place, end.next, messages), end.manifestSha256);
    return true;
  }

  async #gather(place: Place, from: bigint, consumed: bigint): Promise<readonly LogMessage[]> {
    const gathered: LogMessage[] = [];
    let bytes = 0;
    for (let at = from; at < consumed && bytes < this.#maxBytes && gathered.length < MAX_SEGMENT_MESSAGES; ) {
      const messages = await this.#read(place, at, consumed, MAX_SEGMENT_MESSAGES - gathered.length);
      if (messages.length === 0) break;
      for (const message of messages) {
        if (bytes >= this.#maxBytes) break;
        gathered.push(message);
        bytes += message.value?.length ?? 0;
        at = message.offset + 1n;
      }
    }
    return gathered;
  }

  /** Consumed messages. */
  async #read(place: Place, from: bigint, consumed: bigint, atMost: number): Promise<readonly LogMessage[]> {
    const most = Math.min(READ_MESSAGES, atMost);
    const messages = await this.#ctx.eventLog.read(place.topic, place.partition, from, most, READ_BYTES);
    return messages.filter(({ offset }) => offset < consumed);
  }

  async #segmentOf(place: Place, from: bigint, messages: readonly LogMessage[]): Promise<Segment> {
    const { firstOffset } = await this.#ctx.eventLog.end(place.topic, place.partition);
    const [first, last] = [messages[0]!.offset, messages.at(-1)!.offset];
    const lostBefore = firstOffset > from && first > from ? first : null;
    return { ...place, from, next: last + 1n, lostBefore, messages };
  }

  /**
   * The segment, its marks, its manifest, then its row: each may have been there already, from an archiver that died behind it or that
   * is at the same stretch now. Of two the one that stored the segment wins, and the other makes the segment's row, not its own.
   */
  async #store(segment: Segment, previous: string | null): Promise<void> {
    const { db, epoch, log, metrics, store } = this.#ctx;
    const keys = segmentKeys(segment);
    const packed = await pack(encodeSegment(segment));
    const put = await store.put(keys.segment, packed, { ifAbsent: true, size: packed.length });
    const kept = put.sha256 === sha256Hex(packed) ? segment : await this.#adopt(segment, keys.segment);
    const marks = lineMarks(kept.messages);
    const marksSha256 = await this.#putSame(keys.marks, marks);
    const stored: StoredSegment = { size: put.size, sha256: put.sha256, marksSha256 };
    const manifest = segmentManifest(kept, stored, previous);
    const sealed = sealedManifest(manifest);
    await this.#putSame(keys.manifest, sealed.bytes);
    try {
      await db.asLeader(epoch, (tx) => addSegment(tx, manifest, sealed, appendedMs(kept.messages)));
    } catch (error) {
      if (!(error instanceof StaleArchive)) throw error;
      log.warn({ segment: keys.segment }, 'another archiver has gone on');
      return;
    }
    metrics.archived(kept.messages.length, manifest.bytes, put.size);
    if (kept.lostBefore === null) return;
    metrics.lost(Number(kept.lostBefore - kept.from));
    const lost = { from: String(kept.from), before: String(kept.lostBefore) };
    log.error({ ...lost, partition: kept.partition }, 'the log let messages go before they were archived');
  }

  /** Somebody else stored a segment that begins here: it may end elsewhere, but must hold what the log holds. */
  async #adopt(own: Segment, key: string): Promise<Segment> {
    const packed = await readObject(this.#ctx.store, key);
    const text = packed === undefined ? undefined : await unpack(packed);
    const read = text === undefined ? undefined : decodeSegment(text);
    const stretch = read?.stretch;
    if (text === undefined || read === undefined || stretch === undefined || read.fault !== undefined)
      throw notOurs(key, read?.fault ?? 'cannot be read as a segment');
    const found: Segment = { ...stretch, messages: read.messages };
    const same = await this.#asInLog(own, found);
    // `lostBefore` is as the other found it.
    const expected = same && encodeSegment({ ...same, lostBefore: found.lostBefore });
    if (expected?.equals(text) !== true) throw notOurs(key, 'holds other messages than the log does');
    return found;
  }

  /** The stretch of another's segment as the log has it. */
  async #asInLog(own: Segment, { next }: Segment): Promise<Segment | undefined> {
    const messages = own.messages.filter(({ offset }) => offset < next);
    for (let at = own.next; at < next; ) {
      const more = await this.#read(own, at, next, MAX_SEGMENT_MESSAGES);
      if (more.length === 0) return undefined;
      messages.push(...more);
      at = more.at(-1)!.offset + 1n;
    }
    return { ...own, next, messages };
  }

  /** What follows from the segment is the same whoever stored it first. */
  async #putSame(key: string, bytes: Buffer): Promise<string> {
    const sha256 = sha256Hex(bytes);
    const put = await this.#ctx.store.put(key, bytes, { ifAbsent: true, size: bytes.length });
    if (put.sha256 !== sha256) throw notOurs(key, 'is there with other contents');
    return sha256;
  }
}

function notOurs(key: string, problem: string): OperatingError {
  return new OperatingError('conflict', 'never', 'archiving the report log', {
    cause: `${key} ${problem}`,
    mend: 'it belongs to another installation, or was altered: look at it, then move it away',
  });
}

function bytesOf(messages: readonly LogMessage[]): number {
  return messages.reduce((total, { value }) => total + (value?.length ?? 0), 0);
}

/** By how large those are that are there. */
function messagesToFill(messages: number, bytes: number, maxBytes: number): bigint {
  const byBytes = bytes === 0 ? MAX_SEGMENT_MESSAGES : Math.ceil((maxBytes * messages) / bytes);
  return BigInt(Math.min(MAX_SEGMENT_MESSAGES, byBytes));
}

function appendedMs(messages: readonly LogMessage[]): { readonly first: number; readonly last: number } {
  let [first, last] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const { appendedAtMs } of messages) {
    first = Math.min(first, appendedAtMs);
    last = Math.max(last, appendedAtMs);
  }
  return { first, last };
}
