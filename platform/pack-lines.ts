import { PACK_MESSAGE_BYTES } from './event-log.ts';

/** One line is at most this long. */
export const MAX_LINE_BYTES = 1024 * 1024;

export type Packed =
  | { readonly kind: 'message'; readonly value: Uint8Array; readonly lines: number }
  /** A line past MAX_LINE_BYTES, of which nothing was kept; `line` counts from 1. */
  | { readonly kind: 'too-long'; readonly line: number };

/**
 * NDJSON of any size as event-log messages of whole lines, each about PACK_MESSAGE_BYTES and at most one line more. Blank lines are
 * dropped. Holds one message at a time.
 */
export async function* packLines(source: AsyncIterable<Uint8Array>): AsyncGenerator<Packed> {
  let message: Buffer[] = [];
  let messageBytes = 0;
  let lines = 0;
  let partial: Buffer[] = [];
  let partialBytes = 0;
  let lineNumber = 0;
  let skipping = false;
  const flush = (): Packed => {
    const packed = { kind: 'message', value: Buffer.concat(message), lines } as const;
    message = [];
    messageBytes = 0;
    lines = 0;
    return packed;
  };
  const endLine = (): void => {
    lineNumber++;
    const line = Buffer.concat(partial);
    partial = [];
    partialBytes = 0;
    if (isBlank(line)) return;
    message.push(line, NEWLINE);
    messageBytes += line.length + 1;
    lines++;
  };
  for await (const bytes of source) {
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let from = 0;
    while (from < chunk.length) {
      const at = chunk.indexOf(0x0a, from);
      const part = chunk.subarray(from, at < 0 ? chunk.length : at);
      from = at < 0 ? chunk.length : at + 1;
      if (!skipping) {
        partial.push(Buffer.from(part));
        partialBytes += part.length;
        if (partialBytes > MAX_LINE_BYTES) {
          skipping = true;
          partial = [];
          partialBytes = 0;
          yield { kind: 'too-long', line: lineNumber + 1 };
        }
      }
      if (at < 0) continue;
      if (skipping) {
        skipping = false;
        lineNumber++;
      } else endLine();
      if (messageBytes >= PACK_MESSAGE_BYTES) yield flush();
    }
  }
  if (partialBytes > 0) endLine();
  if (lines > 0) yield flush();
}

const NEWLINE = Buffer.from('\n');

function isBlank(line: Buffer): boolean {
  for (const byte of line) if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d) return false;
  return true;
}
