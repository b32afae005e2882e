import { createHash, type Hash } from 'node:crypto';
import { isBlank, MAX_LINE_BYTES } from '../../core/ndjson.ts';
import { type Appended, type LogMessage, PACK_MESSAGE_BYTES } from '../../platform/event-log.ts';
import { type Doors, partitionsOf, routeOf } from './door-routes.ts';
import {
  FIRST_LINE_HEADER,
  PRODUCER_HEADER,
  REDRIVE_HEADER,
  REPORTS_TOPIC,
  TOO_LARGE_HEADER,
  TOO_LARGE_KEPT_BYTES,
  TRACE_HEADER,
} from './report-log.ts';
import { type Routes, routesOf } from './shards.ts';

export interface ReportSource {
  readonly tenant: string;
  /** The authenticated sender, where there is one: `job-<bookingId>` for a job's outputs. */
  readonly producer: string | undefined;
  /** W3C traceparent of the upload. */
  readonly traceparent: string;
  /** The place in the quarantine of the line that is sent once more. */
  readonly redriveOf?: string;
}

export type ReportMessage = Pick<LogMessage, 'tenant' | 'topic' | 'key' | 'value' | 'headers'>;

const NEWLINE = 0x0a;

/** Goes to the partition that its lines belong to; undefined: the log chooses. */
export interface RoutedMessage extends ReportMessage {
  readonly partition?: number;
  /** But for blank ones. */
  readonly lines: number;
}

/**
 * NDJSON of any size and any chunking as messages for the log: whole lines, about PACK_MESSAGE_BYTES each, in order. Holds
 * one message a partition at a time. A line is only looked at for its partition; one past MAX_LINE_BYTES becomes a message of its own with
 * its size, SHA-256 and first KiB, which the consumer quarantines.
 */
export async function* packReports(
  stream: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  source: ReportSource,
  partitions = 1,
): AsyncGenerator<RoutedMessage> {
  const packer = new Packer(source, partitions);
  for await (const chunk of stream) {
    for (let from = 0; from < chunk.length; ) {
      const at = chunk.indexOf(NEWLINE, from);
      const end = at === -1 ? chunk.length : at;
      packer.part(chunk.subarray(from, end));
      if (at !== -1) yield* packer.endLine();
      from = end + 1;
    }
  }
  yield* packer.finish();
}

export interface PackedReports {
  readonly messages: number;
  readonly lines: number;
  readonly bytes: number;
  /** By partition, the last message of it. */
  readonly last: ReadonlyMap<number, bigint>;
}

/** An upload ended early: so much of it is durable, and counts; sent again as a whole, it is found as duplicates. */
export class PartlyAppended extends Error {
  override name = 'PartlyAppended';
  readonly durable: Omit<PackedReports, 'last'>;

  constructor(durable: Omit<PackedReports, 'last'>, cause: unknown) {
    super('an upload of reports ended early', { cause });
    this.durable = durable;
  }
}

/**
 * Packs and appends; when it resolves, all of it is durable. `admit` is asked before each message: what it throws ends the upload there.
 * Throws PartlyAppended where some of it is durable, and the error itself where nothing is.
 */
export async function appendReports(
  log: Doors,
  stream: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  source: ReportSource,
  admit: (message: ReportMessage) => void = () => {},
): Promise<PackedReports> {
  const last = new Map<number, bigint>();
  const durable = { messages: 0, lines: 0, bytes: 0 };
  try {
    for await (const { lines, ...message } of packReports(stream, source, await partitionsOf(log))) {
      admit(message);
      const { partition, offset } = await log.append(message);
      last.set(partition, offset);
      durable.messages++;
      durable.lines += lines;
      durable.bytes += message.value?.length ?? 0;
    }
  } catch (error) {
    throw durable.messages === 0 ? error : new PartlyAppended(durable, error);
  }
  return { ...durable, last };
}

/** One report (the single door, which has checked it) as a message. */
export function reportMessage(line: Uint8Array, source: ReportSource): ReportMessage {
  return messageOf(source, line, 1, {});
}

/** Appends one report where it belongs. */
export async function appendReport(log: Doors, line: Uint8Array, source: ReportSource): Promise<Appended> {
  const routes = routesOf(await partitionsOf(log));
  const message = reportMessage(line, source);
  if (routes === undefined) return log.append(message);
  return log.append({ ...message, partition: routeOf(Buffer.from(line), source.tenant, routes) });
}

function messageOf(
  source: ReportSource,
  value: Uint8Array,
  firstLine: number,
  extra: Readonly<Record<string, string>>,
): ReportMessage {
  const producer = source.producer === undefined ? {} : { [PRODUCER_HEADER]: source.producer };
  const redrive = source.redriveOf === undefined ? {} : { [REDRIVE_HEADER]: source.redriveOf };
  return {
    tenant: source.tenant,
    topic: REPORTS_TOPIC,
    key: source.producer ?? source.tenant,
    value,
    headers: {
      [TRACE_HEADER]: source.traceparent,
      [FIRST_LINE_HEADER]: String(firstLine),
      ...producer,
      ...redrive,
      ...extra,
    },
  };
}

/** More partitions share this. */
const MAX_FILLED_BYTES = 1024 * 1024;
const MIN_MESSAGE_BYTES = 64 * 1024;
/** Blank lines in a row, which stand for lines that went elsewhere. */
const MAX_GAP_LINES = 1024;

/** A message being filled. Each line is at its own number in the upload: those between went elsewhere, or were blank. */
class Filling {
  readonly partition: number | undefined;
  #parts: Buffer[] = [];
  bytes = 0;
  lines = 0;
  firstLine = 0;
  #lastLine = 0;

  constructor(partition: number | undefined) {
    this.partition = partition;
  }

  get isEmpty(): boolean {
    return this.#parts.length === 0;
  }

  /** May the line be added, so that the message stays within its bounds? */
  hasRoom(number: number, bytes: number, maxBytes: number): boolean {
    return this.bytes + bytes <= maxBytes && number - this.#lastLine <= MAX_GAP_LINES;
  }

  add(number: number, line: Buffer): void {
    if (this.isEmpty) this.firstLine = number;
    else this.#push(Buffer.alloc(number - this.#lastLine, NEWLINE));
    this.#push(line);
    this.lines++;
    this.#lastLine = number;
  }

  #push(part: Buffer): void {
    this.#parts.push(part);
    this.bytes += part.length;
  }

  take(): Buffer {
    const value = Buffer.concat([...this.#parts, Buffer.of(NEWLINE)]);
    this.#parts = [];
    this.bytes = 0;
    this.lines = 0;
    return value;
  }
}

/**
 * Lines of the messages being filled, and the line being read, which may come in many parts. Not core's LineSplitter: that one drops a
 * line past the limit, this one hashes it, keeps its head and yields the message it cuts, one at a time.
 */
class Packer {
  readonly #source: ReportSource;
  readonly #routes: Routes;
  readonly #fillings: readonly Filling[];
  readonly #maxBytes: number;
  #number = 1;
  #line: Buffer[] = [];
  #lineBytes = 0;
  /** Set once the line is past the limit: its parts are hashed and dropped. */
  #tooLarge: { readonly kept: Buffer; readonly hash: Hash } | undefined;

  constructor(source: ReportSource, partitions: number) {
    this.#source = source;
    this.#routes = routesOf(partitions);
    const list = Array.from({ length: partitions }, (_, partition) => partition);
    this.#fillings = partitions === 1 ? [new Filling(undefined)] : list.map((partition) => new Filling(partition));
    this.#maxBytes = Math.max(MIN_MESSAGE_BYTES, Math.min(PACK_MESSAGE_BYTES, MAX_FILLED_BYTES / partitions));
  }

  part(bytes: Uint8Array): void {
    this.#lineBytes += bytes.length;
    if (this.#tooLarge !== undefined) {
      this.#tooLarge.hash.update(bytes);
      return;
    }
    // Copied: the caller may reuse its chunk.
    this.#line.push(Buffer.from(bytes));
    if (this.#lineBytes <= MAX_LINE_BYTES) return;
    const hash = createHash('sha256');
    for (const part of this.#line) hash.update(part);
    this.#tooLarge = { kept: Buffer.concat(this.#line).subarray(0, TOO_LARGE_KEPT_BYTES), hash };
    this.#line = [];
  }

  *endLine(): Generator<RoutedMessage> {
    const number = this.#number++;
    if (this.#tooLarge !== undefined) {
      yield* this.#endAll();
      const { kept, hash } = this.#tooLarge;
      const mark = `${this.#lineBytes}:${hash.digest('hex')}`;
      this.#tooLarge = undefined;
      this.#lineBytes = 0;
      yield { ...messageOf(this.#source, kept, number, { [TOO_LARGE_HEADER]: mark }), lines: 1 };
      return;
    }
    const line = Buffer.concat(this.#line);
    this.#line = [];
    this.#lineBytes = 0;
    if (isBlank(line)) return;
    const filling = this.#fillings[this.#routes === undefined ? 0 : routeOf(line, this.#source.tenant, this.#routes)]!;
    if (!filling.isEmpty && !filling.hasRoom(number, line.length, this.#maxBytes)) yield* this.#end(filling);
    filling.add(number, line);
  }

  *finish(): Generator<RoutedMessage> {
    // The last line may lack its newline.
    if (this.#lineBytes > 0) yield* this.endLine();
    yield* this.#endAll();
  }

  *#endAll(): Generator<RoutedMessage> {
    for (const filling of this.#fillings) yield* this.#end(filling);
  }

  *#end(filling: Filling): Generator<RoutedMessage> {
    if (filling.isEmpty) return;
    const { firstLine, lines, partition } = filling;
    const message = { ...messageOf(this.#source, filling.take(), firstLine, {}), lines };
    yield partition === undefined ? message : { ...message, partition };
  }
}
