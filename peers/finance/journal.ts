import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { canonicalText } from '../../core/canonical.ts';
import { parseJson } from '../../core/json.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { check, Type } from '../../core/schema.ts';
import { type Hold, holdRefusals } from './wire.ts';

const Line = Type.Object({ seq: Type.Integer({ minimum: 1 }), hold: Type.Unknown() }, { additionalProperties: false });
/** A hold is far smaller: a longer line is damage. */
const MAX_LINE_BYTES = 64 * 1024;

/**
 * The book's changes as JSON lines, one change a line, synced to disk before anyone hears of it. A last line without its
 * line end was never answered for and is cut off; any other damage refuses the file.
 */
export class Journal {
  readonly #path: string;
  readonly #handle: FileHandle;
  #size: number;
  #seq: number;
  #broken = false;

  private constructor(path: string, handle: FileHandle, size: number, seq: number) {
    this.#path = path;
    this.#handle = handle;
    this.#size = size;
    this.#seq = seq;
  }

  /** Opens the file, made where it is missing, and tells every change in it in order. Throws OperatingError `storage`. */
  static async open(path: string, onChange: (hold: Hold) => void): Promise<Journal> {
    await mkdir(dirname(path), { recursive: true });
    const handle = await open(path, 'a+', 0o600);
    try {
      const { size } = await handle.stat();
      const good = await replay(path, handle, onChange);
      if (good.size < size) await handle.truncate(good.size);
      await handle.sync();
      await syncFolder(dirname(path));
      return new Journal(path, handle, good.size, good.seq);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Durable when it resolves. One call at a time: the caller has a queue. A failed one leaves no part of its line. */
  async append(hold: Hold): Promise<void> {
    if (this.#broken)
      throw new OperatingError('storage', 'never', `writing ${this.#path}`, {
        cause: 'an earlier write left a torn line',
        mend: 'start again',
      });
    const line = Buffer.from(`${canonicalText({ seq: this.#seq + 1, hold })}\n`, 'utf8');
    try {
      for (let written = 0; written < line.length; ) written += (await this.#handle.write(line, written)).bytesWritten;
      await this.#handle.datasync();
    } catch (cause) {
      await this.#handle.truncate(this.#size).catch(() => {
        this.#broken = true;
      });
      throw new OperatingError('storage', 'safe', `writing ${this.#path}`, { cause });
    }
    this.#seq++;
    this.#size += line.length;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** Tells every whole line; returns how many bytes and lines are good. What follows the last line end is not told. */
async function replay(
  path: string,
  handle: FileHandle,
  onChange: (hold: Hold) => void,
): Promise<{ size: number; seq: number }> {
  const damaged = (seq: number) =>
    new OperatingError('storage', 'never', `reading ${path}`, {
      cause: `line ${seq} is damaged`,
      mend: 'bring the file back from a copy; deleting it forgets every hold',
    });
  let size = 0;
  let seq = 0;
  let rest = Buffer.alloc(0);
  // Split at the line-feed byte: node:readline would also split at U+2028, which may stand in a reason's text.
  for await (const chunk of handle.createReadStream({ start: 0, autoClose: false })) {
    rest = Buffer.concat([rest, chunk as Buffer]);
    for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
      const hold = end > MAX_LINE_BYTES ? undefined : holdOf(rest.subarray(0, end), seq + 1);
      if (hold === undefined) throw damaged(seq + 1);
      onChange(hold);
      seq++;
      size += end + 1;
      rest = rest.subarray(end + 1);
    }
    if (rest.length > MAX_LINE_BYTES) throw damaged(seq + 1);
  }
  return { size, seq };
}

function holdOf(line: Uint8Array, seq: number): Hold | undefined {
  const reading = parseJson(line);
  if (!reading.ok || check(Line, reading.value).length > 0) return undefined;
  const value = reading.value as unknown as { readonly seq: number; readonly hold: Hold };
  return value.seq === seq && holdRefusals(value.hold).length === 0 ? value.hold : undefined;
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
