import type { LogMessage } from '../../platform/event-log.ts';

const NEWLINE = 0x0a;

/** Messages of one partition, in order, their values in one buffer that is moved to the thread that reads them. */
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

export function packMessages(messages: readonly LogMessage[], fromLine: number): PackedMessages {
  const size = messages.reduce((total, { value }) => total + (value === null ? 0 : value.length + 1), 0);
  const bytes = new Uint8Array(size);
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
