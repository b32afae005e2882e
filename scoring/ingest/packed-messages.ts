import type { LogMessage } from '../../platform/event-log.ts';

const NEWLINE = 0x0a;

/** Messages of one partition, in order, their values in one run of bytes that both threads see. */
export interface PackedMessages {
  /** Without their values. */
  readonly messages: readonly LogMessage[];
  /** A value an entry: where it begins in the bytes, and where it ends; −1 for a tombstone. A line feed follows each. */
  readonly begins: Int32Array;
  readonly ends: Int32Array;
  readonly bytes: Uint8Array;
  /** Lines of the first message that are done. */
  readonly fromLine: number;
}

/** Room that is kept however little is packed into it. */
const KEPT_ROOM_BYTES = 1024 * 1024;
/** Room that is more than this often as large as what is packed into it is given back. */
const MAX_ROOM_FACTOR = 4;

/**
 * Where a partition's values lie, time after time: new memory for each reading has to be cleared, and V8 counts it towards the next collection of
 * both threads. Shared, since both see it: what is packed is gone when the next is.
 */
export class PackRoom {
  #buffer = new SharedArrayBuffer(0);

  take(size: number): Uint8Array {
    const has = this.#buffer.byteLength;
    if (has < size || has > Math.max(KEPT_ROOM_BYTES, size * MAX_ROOM_FACTOR))
      this.#buffer = new SharedArrayBuffer(size);
    return new Uint8Array(this.#buffer, 0, size);
  }
}

export function packMessages(
  messages: readonly LogMessage[],
  fromLine: number,
  room: PackRoom = new PackRoom(),
): PackedMessages {
  const size = messages.reduce((total, { value }) => total + (value === null ? 0 : value.length + 1), 0);
  const bytes = room.take(size);
  const begins = new Int32Array(messages.length);
  const ends = new Int32Array(messages.length);
  let at = 0;
  messages.forEach(({ value }, i) => {
    begins[i] = at;
    ends[i] = value === null ? -1 : at + value.length;
    if (value === null) return;
    bytes.set(value, at);
    at += value.length;
    bytes[at++] = NEWLINE;
  });
  return { messages: messages.map((message) => ({ ...message, value: null })), begins, ends, bytes, fromLine };
}

export function valueAt(packed: PackedMessages, message: number): Uint8Array | null {
  const end = packed.ends[message]!;
  return end < 0 ? null : packed.bytes.subarray(packed.begins[message]!, end);
}
