import type { LogMessage } from '../../platform/event-log.ts';
import type { Position } from './read-lines.ts';
import { STRAY_HEADER } from './report-log.ts';

/**
 * A line that lies in a partition which does not serve its shard is a stray: whoever reads it there appends it to the right partition and
 * goes on. The message that carries it has the source message's tenant, key and headers, and holds each line at its own number, with
 * blank lines between, so that trace, sender and place in the upload stay what they are.
 */

/** Each raise of the partitions may send a line on once more; beyond this somebody sends it in circles. */
export const MAX_STRAY_HOPS = 16;

/** Where a line that was appended again was read. */
export interface Origin {
  readonly partition: number;
  readonly offset: bigint;
  /** When it was appended the first time: whether it was ahead of its time is judged by that. */
  readonly arrivedAtMs: number;
  readonly hops: number;
}

/** What is appended. */
export interface StrayMessage {
  /** The right one. */
  readonly partition: number;
  readonly message: Pick<LogMessage, 'tenant' | 'topic' | 'key' | 'headers'> & { readonly value: Uint8Array };
  readonly lines: number;
}

/** The last line of a source partition that was taken in. Lines of one source come in its order; what is not behind it came before. */
export interface StrayMark extends Position {
  readonly source: number;
}

export function originOf({ headers }: LogMessage): Origin | undefined {
  const text = headers[STRAY_HEADER];
  const match = text === undefined ? null : /^([0-9]{1,9}):([0-9]{1,18}):([0-9]{1,15}):([0-9]{1,4})$/.exec(text);
  if (match === null) return undefined;
  const [partition, offset, arrivedAtMs, hops] = match.slice(1) as [string, string, string, string];
  return {
    partition: Number(partition),
    offset: BigInt(offset),
    arrivedAtMs: Number(arrivedAtMs),
    hops: Number(hops),
  };
}

/** When the line was appended the first time. */
export function arrivedAtMs(message: LogMessage): number {
  return Math.min(originOf(message)?.arrivedAtMs ?? message.appendedAtMs, message.appendedAtMs);
}

export function isBehind(line: number, offset: bigint, mark: Position | undefined): boolean {
  return mark === undefined || offset > mark.offset || (offset === mark.offset && line > mark.line);
}

/** The strays of one message that go to one partition. */
export class StrayLines {
  readonly #message: LogMessage;
  readonly #partition: number;
  readonly #parts: Uint8Array[] = [];
  #line = 1;
  #lines = 0;

  constructor(message: LogMessage, partition: number) {
    this.#message = message;
    this.#partition = partition;
  }

  /** In the order of their numbers. */
  add(line: number, raw: Uint8Array): void {
    if (line > this.#line) this.#parts.push(Buffer.alloc(line - this.#line, NEWLINE));
    this.#parts.push(raw);
    this.#line = line;
    this.#lines++;
  }

  message(): StrayMessage {
    const { tenant, topic, key, headers, partition, offset } = this.#message;
    const hops = (originOf(this.#message)?.hops ?? 0) + 1;
    const origin = `${partition}:${offset}:${Math.floor(arrivedAtMs(this.#message))}:${hops}`;
    // A buffer of its own: what is left of the pool's would travel with it.
    const value = Uint8Array.from(Buffer.concat(this.#parts));
    return {
      partition: this.#partition,
      message: { tenant, topic, key, value, headers: { ...headers, [STRAY_HEADER]: origin } },
      lines: this.#lines,
    };
  }
}

const NEWLINE = 0x0a;
