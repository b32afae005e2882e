import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InputDigest } from '../rules/checksum.ts';

export const DIGEST_BYTES = 32;
/** Digests sorted in memory (64 MiB); more spill to sorted files in a temporary folder. */
export const MAX_DIGESTS_IN_MEMORY = 2 ** 21;
/** Bytes read of each spilled run at a time while merging. */
const MERGE_READ_BYTES = 2 ** 18;
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

  #spill(): void {
    this.#folder ??= mkdtempSync(join(tmpdir(), 'merit-digests-'));
    const path = join(this.#folder, `run-${this.#runs.length}`);
    this.#runs.push(path);
    const file = openSync(path, 'wx', 0o600);
    try {
      writeAll(file, sortDigests(this.#buffer.subarray(0, this.#held * DIGEST_BYTES)));
    } finally {
      closeSync(file);
    }
    this.#held = 0;
  }

  /** The digest over everything added, sorted bytewise; lower-case hex. */
  hex(): string {
    const digest = new InputDigest();
    const rest = sortDigests(this.#buffer.subarray(0, this.#held * DIGEST_BYTES));
    if (this.#runs.length === 0) digest.add(rest);
    else mergeRuns(this.#runs, rest, (one) => digest.add(one));
    return digest.hex();
  }

  close(): void {
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
    this.#folder = undefined;
  }
}

/** A sorted copy: digests are uniform, so boxes by the first two bytes leave a few to compare in each. */
function sortDigests(bytes: Buffer): Buffer {
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
  const sorted = Buffer.allocUnsafe(bytes.length);
  for (let i = 0; i < count; i++) {
    const from = order[i]! * DIGEST_BYTES;
    bytes.copy(sorted, i * DIGEST_BYTES, from, from + DIGEST_BYTES);
  }
  return sorted;
}

function compareAt(a: Buffer, aAt: number, b: Buffer, bAt: number): number {
  return a.compare(b, bAt, bAt + DIGEST_BYTES, aAt, aAt + DIGEST_BYTES);
}

/** One sorted run being read: from a file, or from memory. */
class Run {
  readonly #file: number | undefined;
  #bytes: Buffer;
  #at = 0;

  constructor(source: string | Buffer) {
    this.#file = typeof source === 'string' ? openSync(source, 'r') : undefined;
    this.#bytes = typeof source === 'string' ? Buffer.alloc(0) : source;
    this.#fill();
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  #fill(): void {
    if (this.#at < this.#bytes.length || this.#file === undefined) return;
    const bytes = Buffer.allocUnsafe(MERGE_READ_BYTES);
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
    if (this.#file !== undefined) closeSync(this.#file);
  }
}

function mergeRuns(paths: readonly string[], rest: Buffer, onDigest: (digest: Buffer) => void): void {
  const runs: Run[] = [];
  try {
    for (const source of [...paths, rest]) runs.push(new Run(source));
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
