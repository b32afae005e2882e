import { createHash, type Hash } from 'node:crypto';
import { isBlank, MAX_LINE_BYTES } from '../../core/ndjson.ts';
import { type EventLog, type LogMessage, PACK_MESSAGE_BYTES } from '../../platform/event-log.ts';
import {
  FIRST_LINE_HEADER,
  PRODUCER_HEADER,
  REPORTS_TOPIC,
  TOO_LARGE_HEADER,
  TOO_LARGE_KEPT_BYTES,
  TRACE_HEADER,
} from './report-log.ts';

export interface ReportSource {
  readonly tenant: string;
  /** The authenticated sender, where there is one: `job-<bookingId>` for a job's outputs. */
  readonly producer: string | undefined;
  /** W3C traceparent of the upload. */
  readonly traceparent: string;
}

export type ReportMessage = Pick<LogMessage, 'tenant' | 'topic' | 'key' | 'value' | 'headers'>;

const NEWLINE = 0x0a;

/**
 * NDJSON of any size and any chunking as messages for the log: whole lines, about PACK_MESSAGE_BYTES each, in order. Holds
 * one message at a time. Lines are not read here; a line past MAX_LINE_BYTES becomes a message of its own with its size,
 * SHA-256 and first KiB, which the consumer quarantines.
 */
export async function* packReports(
  stream: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  source: ReportSource,
): AsyncGenerator<ReportMessage> {
  const packer = new Packer(source);
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
  readonly bytes: number;
}

/** Packs and appends; when it resolves, all of it is durable. */
export async function appendReports(
  log: EventLog,
  stream: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  source: ReportSource,
): Promise<PackedReports> {
  let messages = 0;
  let bytes = 0;
  for await (const message of packReports(stream, source)) {
    await log.append(message);
    messages++;
    bytes += message.value?.length ?? 0;
  }
  return { messages, bytes };
}

/** One report (the single door, which has checked it) as a message. */
export function reportMessage(line: Uint8Array, source: ReportSource): ReportMessage {
  return messageOf(source, line, 1, {});
}

function messageOf(
  source: ReportSource,
  value: Uint8Array,
  firstLine: number,
  extra: Readonly<Record<string, string>>,
): ReportMessage {
  const producer = source.producer === undefined ? {} : { [PRODUCER_HEADER]: source.producer };
  return {
    tenant: source.tenant,
    topic: REPORTS_TOPIC,
    key: source.producer ?? source.tenant,
    value,
    headers: { [TRACE_HEADER]: source.traceparent, [FIRST_LINE_HEADER]: String(firstLine), ...producer, ...extra },
  };
}

/**
 * Lines of the message being filled, and the line being read, which may come in many parts. Not core's LineSplitter: that one drops a
 * line past the limit, this one hashes it, keeps its head and yields the message it cuts, one at a time.
 */
class Packer {
  readonly #source: ReportSource;
  #message: Buffer[] = [];
  #messageBytes = 0;
  #messageLine = 1;
  #messageBlank = true;
  #number = 1;
  #line: Buffer[] = [];
  #lineBytes = 0;
  /** Set once the line is past the limit: its parts are hashed and dropped. */
  #tooLarge: { readonly kept: Buffer; readonly hash: Hash } | undefined;

  constructor(source: ReportSource) {
    this.#source = source;
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

  *endLine(): Generator<ReportMessage> {
    const number = this.#number++;
    if (this.#tooLarge !== undefined) {
      yield* this.#endMessage();
      const { kept, hash } = this.#tooLarge;
      const mark = `${this.#lineBytes}:${hash.digest('hex')}`;
      this.#tooLarge = undefined;
      this.#lineBytes = 0;
      yield messageOf(this.#source, kept, number, { [TOO_LARGE_HEADER]: mark });
      return;
    }
    const line = Buffer.concat(this.#line);
    this.#line = [];
    this.#lineBytes = 0;
    if (this.#messageBytes + line.length > PACK_MESSAGE_BYTES) yield* this.#endMessage();
    // Blank lines before a message's first report are left out; those inside keep the numbers of the lines after them.
    if (this.#messageBlank && isBlank(line)) return;
    if (this.#message.length === 0) this.#messageLine = number;
    this.#messageBlank = false;
    this.#message.push(line, Buffer.of(NEWLINE));
    this.#messageBytes += line.length + 1;
  }

  *finish(): Generator<ReportMessage> {
    // The last line may lack its newline.
    if (this.#lineBytes > 0) yield* this.endLine();
    yield* this.#endMessage();
  }

  *#endMessage(): Generator<ReportMessage> {
    if (this.#message.length === 0) return;
    const value = Buffer.concat(this.#message);
    this.#message = [];
    this.#messageBytes = 0;
    this.#messageBlank = true;
    yield messageOf(this.#source, value, this.#messageLine, {});
  }
}
