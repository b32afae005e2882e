import { createHash } from 'node:crypto';
import type { LogMessage } from '../../platform/event-log.ts';
import { messageHeadText } from './segment-codec.ts';

/**
 * What is kept beside a segment so that a change in it can be told to the line: for each message its offset, 8 bytes of the SHA-256 of all
 * of it but the value, how many lines the value has, and 8 bytes of the SHA-256 of each line. That a segment was changed is told by its
 * own SHA-256; marks only say where. About a tenth of the compressed segment.
 */
const MARK_BYTES = 8;
/** Offset, mark of the head, lines. */
const HEAD_BYTES = 8 + MARK_BYTES + 4;
/** In place of a number of lines: a tombstone. */
const TOMBSTONE = 0xffff_ffff;
const NEWLINE = 0x0a;

export function lineMarks(messages: readonly LogMessage[]): Buffer {
  return Buffer.concat(messages.map(marksOf));
}

function marksOf(message: LogMessage): Buffer {
  const lines = message.value === null ? [] : linesOf(message.value);
  const marks = Buffer.alloc(HEAD_BYTES + lines.length * MARK_BYTES);
  marks.writeBigInt64BE(message.offset);
  markOf(Buffer.from(messageHeadText({ ...message, value: null }))).copy(marks, 8);
  marks.writeUInt32BE(message.value === null ? TOMBSTONE : lines.length, 8 + MARK_BYTES);
  for (const [i, line] of lines.entries()) markOf(line).copy(marks, HEAD_BYTES + i * MARK_BYTES);
  return marks;
}

function markOf(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest().subarray(0, MARK_BYTES);
}

/** As quarantined lines are numbered: pieces between newlines, the blank ones too. What stands behind the last newline is a line, also where it is nothing. */
function linesOf(value: Uint8Array): Uint8Array[] {
  const lines: Uint8Array[] = [];
  for (let from = 0; ; ) {
    const at = value.indexOf(NEWLINE, from);
    lines.push(value.subarray(from, at === -1 ? value.length : at));
    if (at === -1) return lines;
    from = at + 1;
  }
}

/** Where a segment differs from its marks first; `line` is 1-based in the message, null where it is no line that differs. */
export interface Difference {
  readonly offset: bigint;
  readonly line: number | null;
  readonly problem: string;
}

interface Marked {
  readonly offset: bigint;
  readonly head: Buffer;
  readonly tombstone: boolean;
  readonly lines: readonly Buffer[];
}

/** undefined: nothing differs. */
export function firstDifference(messages: readonly LogMessage[], marks: Buffer): Difference | undefined {
  let i = 0;
  for (const marked of readMarks(marks)) {
    const message = messages[i];
    if (message === undefined || message.offset > marked.offset)
      return { offset: marked.offset, line: null, problem: 'the message is missing, or cannot be read' };
    if (message.offset < marked.offset) return { offset: message.offset, line: null, problem: 'the message was added' };
    const found = differenceIn(message, marked);
    if (found !== undefined) return found;
    i++;
  }
  const added = messages[i];
  return added === undefined ? undefined : { offset: added.offset, line: null, problem: 'the message was added' };
}

function differenceIn(message: LogMessage, marked: Marked): Difference | undefined {
  const { offset } = message;
  const lines = message.value === null ? [] : linesOf(message.value).map(markOf);
  const line = lines.findIndex((mark, i) => marked.lines[i]?.equals(mark) !== true);
  if (line !== -1 || lines.length < marked.lines.length) {
    const at = line === -1 ? lines.length : line;
    return { offset, line: at + 1, problem: howLineDiffers(lines, marked.lines, at) };
  }
  if ((message.value === null) !== marked.tombstone) return { offset, line: null, problem: 'the value was removed' };
  if (markOf(Buffer.from(messageHeadText({ ...message, value: null }))).equals(marked.head)) return undefined;
  return { offset, line: null, problem: 'the key, a header, the tenant or the time was altered' };
}

function howLineDiffers(now: readonly Buffer[], before: readonly Buffer[], at: number): string {
  const next = before[at + 1];
  if (now.length < before.length && (now[at] === undefined || next === undefined || now[at].equals(next)))
    return 'the line is missing';
  if (now.length > before.length && (before[at] === undefined || now[at + 1]?.equals(before[at]) === true))
    return 'the line was added';
  return 'the line was altered';
}

function* readMarks(marks: Buffer): Generator<Marked> {
  for (let at = 0; at + HEAD_BYTES <= marks.length; ) {
    const count = marks.readUInt32BE(at + 8 + MARK_BYTES);
    const tombstone = count === TOMBSTONE;
    const from = at + HEAD_BYTES;
    const to = from + (tombstone ? 0 : count) * MARK_BYTES;
    const lines = Array.from({ length: (to - from) / MARK_BYTES }, (_, i) =>
      marks.subarray(from + i * MARK_BYTES, from + (i + 1) * MARK_BYTES),
    );
    yield { offset: marks.readBigInt64BE(at), head: marks.subarray(at + 8, at + 8 + MARK_BYTES), tombstone, lines };
    at = to;
  }
}
