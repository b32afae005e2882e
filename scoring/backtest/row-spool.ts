import { closeSync, mkdtempSync, openSync, readSync, rmSync, writevSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compareText } from '../rules/pane-table.ts';
import type { WindowName } from '../rules/published.ts';

/** Bytes of rows held in memory (32 MiB); more spill to a temporary file. */
export const MAX_ROW_BYTES_IN_MEMORY = 2 ** 25;
const FIRST_BUFFER_BYTES = 1024;
/** Buffers given to one write. */
const MAX_WRITTEN_AT_ONCE = 512;
const NEWLINE = '\n';

/** The rows of one model and window, in the order in which they came. */
interface Group {
  /** Offset and length of each part of it in the file. */
  readonly parts: number[];
  buffer: Buffer;
  used: number;
}

const NOTHING = Buffer.alloc(0);

/**
 * Any number of checksum rows in bounded memory, given back in bytewise order. Rows of one model and window come with
 * ascending ends, which is their order already: so they are kept apart by model and window, and nothing is ever compared.
 * ASCII only. Call `close` in any case: it removes the temporary folder.
 */
export class RowSpool {
  readonly #limit: number;
  readonly #groups = new Map<string, Group>();
  #held = 0;
  #folder: string | undefined;
  #file: number | undefined;
  #fileBytes = 0;

  constructor(limit = MAX_ROW_BYTES_IN_MEMORY) {
    this.#limit = limit;
  }

  /** Bytes spilled so far. */
  get spilled(): number {
    return this.#fileBytes;
  }

  /** `row` starts with the model's JSON text, and goes on with window and end. Equal ends come in the rows' own order. */
  add(model: string, window: WindowName | null, end: string, row: string): void {
    // A year beyond 9999 or before 0 starts with its sign, which sorts before every digit.
    const era = end.startsWith('+') || end.startsWith('-') ? end.slice(0, 1) : '0';
    const key = `"${model}",${window === null ? 'null' : `"${window}"`},"${era}`;
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = { parts: [], buffer: NOTHING, used: 0 };
      this.#groups.set(key, group);
    }
    const needed = group.used + row.length + 1;
    if (needed > group.buffer.length) this.#grow(group, needed);
    group.used += group.buffer.write(row, group.used, 'latin1');
    group.used += group.buffer.write(NEWLINE, group.used, 'latin1');
    if (this.#held > this.#limit) this.#spill();
  }

  #grow(group: Group, needed: number): void {
    const grown = Buffer.allocUnsafe(Math.max(needed, 2 * group.buffer.length, FIRST_BUFFER_BYTES));
    group.buffer.copy(grown, 0, 0, group.used);
    this.#held += grown.length - group.buffer.length;
    group.buffer = grown;
  }

  #spill(): void {
    if (this.#file === undefined) {
      this.#folder = mkdtempSync(join(tmpdir(), 'merit-rows-'));
      this.#file = openSync(join(this.#folder, 'rows'), 'wx+', 0o600);
    }
    let waiting: Buffer[] = [];
    for (const group of this.#groups.values()) {
      if (group.used === 0) continue;
      group.parts.push(this.#fileBytes, group.used);
      this.#fileBytes += group.used;
      waiting.push(group.buffer.subarray(0, group.used));
      group.buffer = NOTHING;
      group.used = 0;
      if (waiting.length === MAX_WRITTEN_AT_ONCE) {
        writeAll(this.#file, waiting);
        waiting = [];
      }
    }
    writeAll(this.#file, waiting);
    this.#held = 0;
  }

  /** Every row, in bytewise order. */
  *rows(): Generator<string> {
    const groups = Array.from(this.#groups).sort(([a], [b]) => compareText(a, b));
    for (const [, group] of groups) {
      for (let i = 0; i < group.parts.length; i += 2) yield* linesOf(this.#read(group.parts[i]!, group.parts[i + 1]!));
      yield* linesOf(group.buffer.subarray(0, group.used));
    }
  }

  #read(offset: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    for (let at = 0; at < length; ) {
      const read = readSync(this.#file!, bytes, at, length - at, offset + at);
      if (read === 0) throw new Error('the file of spilled rows is shorter than what was written to it');
      at += read;
    }
    return bytes;
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
    this.#folder = undefined;
  }
}

function* linesOf(bytes: Buffer): Generator<string> {
  for (let from = 0; from < bytes.length; ) {
    const end = bytes.indexOf(NEWLINE, from);
    yield bytes.toString('latin1', from, end);
    from = end + 1;
  }
}

function writeAll(file: number, buffers: readonly Buffer[]): void {
  let rest = buffers;
  while (rest.length > 0) {
    let written = writevSync(file, rest);
    let whole = 0;
    while (whole < rest.length && written >= rest[whole]!.length) written -= rest[whole++]!.length;
    rest = rest.slice(whole);
    if (written > 0) rest = [rest[0]!.subarray(written), ...rest.slice(1)];
  }
}
