import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InputDigest } from '../rules/checksum.ts';

export const DIGEST_BYTES = 32;
/** Digests sorted in memory (32 MiB); more spill to sorted files in a temporary folder. */
export const MAX_DIGESTS_IN_MEMORY = 2 ** 20;
/** Bytes of each sorted run handled at a time. */
const PIECE_BYTES = 2 ** 18;
/** Digests are put into this many boxes by their first two bytes before each box is sorted. */
const BOXES = 65_536;

/**
 * The inputDigest of any number of digests in bounded memory: an external merge sort. Call `close` in any case: it
 * removes the temporary folder.
 */
export class DigestSorter {
  readonly #limit: number;
  readonly #buffer: Buffer;
  #held = 0;
  #folder: string | undefined;
  readonly #runs: string[] = [];

  constructor(limit = MAX_DIGESTS_IN_MEMORY) {
    this.#limit = limit;
    this.#buffer = Buffer.alloc(limit * DIGEST_BYTES);
  }

  /** Runs spilled so far. */
  get runs(): number {
    return this.#runs.length;
  }

  add(digest: Uint8Array): void {
    if (this.#held === this.#limit) this.#spill();
    this.#buffer.set(digest, this.#held * DIGEST_BYTES);
    this.#held++;
  }

  /** Digests side by side, in any number. */
  addAll(digests: Uint8Array): void {
    for (let from = 0; from < digests.length; ) {
      if (this.#held === this.#limit) this.#spill();
      const room = (this.#limit - this.#held) * DIGEST_BYTES;
      const part = digests.subarray(from, from + room);
      this.#buffer.set(part, this.#held * DIGEST_BYTES);
      this.#held += part.length / DIGEST_BYTES;
      from += part.length;
    }
  }

  #spill(): void {
    this.#folder ??= mkdtempSync(join(tmpdir(), 'merit-digests-'));
    const path = join(this.#folder, `run-${this.#runs.length}`);
    this.#runs.push(path);
    const file = openSync(path, 'wx', 0o600);
    try {
      for (const piece of this.#sorted()) writeAll(file, piece);
    } finally {
      closeSync(file);
    }
    this.#held = 0;
  }

  /** The digest over everything added, sorted bytewise; lower-case hex. */
  hex(): string {
    const digest = new InputDigest();
    // What is left in memory becomes a run of its own only where there are others to merge it with.
    if (this.#runs.length > 0) this.#spill();
    if (this.#runs.length > 0) mergeRuns(this.#runs, (one) => digest.add(one));
    else for (const piece of this.#sorted()) digest.add(piece);
    return digest.hex();
  }

  #sorted(): Generator<Buffer> {
    return sortedPieces(this.#buffer.subarray(0, this.#held * DIGEST_BYTES));
  }

  close(): void {
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
    this.#folder = undefined;
  }
}

/** The digests in order, some at a time: they are uniform, so boxes by two bytes leave a few to compare in each. */
function* sortedPieces(bytes: Buffer): Generator<Buffer> {
  const order = sortedOrder(bytes);
  const perPiece = PIECE_BYTES / DIGEST_BYTES;
  for (let from = 0; from < order.length; from += perPiece) {
    const part = order.subarray(from, from + perPiece);
    const piece = Buffer.allocUnsafe(part.length * DIGEST_BYTES);
    part.forEach((digest, i) => {
      const at = digest * DIGEST_BYTES;
      bytes.copy(piece, i * DIGEST_BYTES, at, at + DIGEST_BYTES);
    });
    yield piece;
  }
}

function sortedOrder(bytes: Buffer): Uint32Array {
  const count = bytes.length / DIGEST_BYTES;
  const ends = new Uint32Array(BOXES + 1);
  for (let i = 0; i < count; i++) ends[bytes.readUInt16BE(i * DIGEST_BYTES) + 1]!++;
  for (let box = 0; box < BOXES; box++) ends[box + 1]! += ends[box]!;
  const next = ends.slice(0, BOXES);
  const order = new Uint32Array(count);
  for (let i = 0; i < count; i++) order[next[bytes.readUInt16BE(i * DIGEST_BYTES)]!++] = i;
  const compare = (a: number, b: number) => compareAt(bytes, a * DIGEST_BYTES, bytes, b * DIGEST_BYTES);
  for (let box = 0; box < BOXES; box++) {
    if (ends[box + 1]! - ends[box]! > 1) order.subarray(ends[box]!, ends[box + 1]!).sort(compare);
  }
  return order;
}

function compareAt(a: Buffer, aAt: number, b: Buffer, bAt: number): number {
  return a.compare(b, bAt, bAt + DIGEST_BYTES, aAt, aAt + DIGEST_BYTES);
}

/** One sorted run being read. */
class Run {
  readonly #file: number;
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;

  constructor(path: string) {
    this.#file = openSync(path, 'r');
    this.#fill();
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  #fill(): void {
    if (this.#at < this.#bytes.length) return;
    const bytes = Buffer.allocUnsafe(PIECE_BYTES);
    let length = 0;
    while (length < bytes.length) {
      const read = readSync(this.#file, bytes, length, bytes.length - length, null);
      if (read === 0) break;
      length += read;
    }
    this.#bytes = bytes.subarray(0, length);
    this.#at = 0;
  }

  isBefore(other: Run): boolean {
    return compareAt(this.#bytes, this.#at, other.#bytes, other.#at) < 0;
  }

  take(): Buffer {
    const digest = this.#bytes.subarray(this.#at, this.#at + DIGEST_BYTES);
    this.#at += DIGEST_BYTES;
    this.#fill();
    return digest;
  }

  close(): void {
    closeSync(this.#file);
  }
}

function mergeRuns(paths: readonly string[], onDigest: (digest: Buffer) => void): void {
  const runs: Run[] = [];
  try {
    for (const path of paths) runs.push(new Run(path));
    let live = runs.filter((run) => !run.done);
    while (live.length > 0) {
      let least = live[0]!;
      for (const run of live) if (run.isBefore(least)) least = run;
      onDigest(least.take());
      if (least.done) live = live.filter((run) => run !== least);
    }
  } finally {
    for (const run of runs) run.close();
  }
}

function writeAll(file: number, bytes: Buffer): void {
  let at = 0;
  while (at < bytes.length) at += writeSync(file, bytes, at);
}
