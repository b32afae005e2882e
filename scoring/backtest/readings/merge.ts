import { createHash } from 'node:crypto';
import { RefusedInput, refuse } from '../../../core/refusal.ts';
import type { Suite } from '../../../core/suite.ts';
import { FirstWins } from '../../../scoring-native/first-wins.ts';
import { type LineFault, ReferencePipeline } from '../../../scoring-native/reference.ts';
import type { Contribution } from '../../rules/contribution.ts';
import { TOO_LONG } from '../../rules/oracle.ts';
import { readerKey } from '../reader-key.ts';
import { ByteReader } from './byte-reader.ts';
import { FRAME, type Header, MAX_FRAME_BYTES, MAX_HEADER_BYTES, MAX_SHARDS, READINGS_FORMAT } from './header.ts';
import { partsOf } from './parts.ts';
import { type Reading, readingAt, recordsOf } from './record.ts';

/** A file of readings. */
export interface ReadingsFile {
  readonly name: string;
  open(): AsyncIterable<Uint8Array>;
}

export interface Readings {
  readonly header: Header;
  /** One a file of the archive, for `backtestStream`. */
  readonly sources: Iterable<AsyncIterable<Uint8Array>>;
}

/**
 * The readings of all shards of an archive, given in any order. What they give is what reading the archive itself would: the same lines in the
 * same order. Throws RefusedInput where one is missing, twice, cut, of other suites, or of another archive.
 */
export async function openReadings(files: readonly ReadingsFile[], suites: readonly Suite[]): Promise<Readings> {
  const readers = suites.map(readerKey);
  const shards: { readonly file: ReadingsFile; readonly header: Header }[] = [];
  for (const file of files) {
    const bytes = new ByteReader(file.open());
    const line = await bytes.line(MAX_HEADER_BYTES);
    await bytes.close();
    shards.push({ file, header: checkHeader(file.name, line, readers) });
  }
  shards.sort((a, b) => a.header.shard - b.header.shard);
  const first = shards[0];
  if (first === undefined) throw refused('--readings', 'is missing', 'name the readings of every shard');
  const archive = JSON.stringify(first.header.sources);
  for (const [place, { file, header }] of shards.entries()) {
    if (JSON.stringify(header.sources) !== archive || header.of !== first.header.of)
      throw refused(file.name, 'is of another archive, or of another division of it', 'read all shards anew');
    if (header.shard < place)
      throw refused(file.name, `is shard ${header.shard}, which is there already`, 'name each once');
    if (header.shard > place) throw refused('--readings', `has no shard ${place} of ${header.of}`, 'name it too');
  }
  if (shards.length < first.header.of)
    throw refused('--readings', `has no shard ${shards.length} of ${first.header.of}`, 'name it too');
  const inOrder = shards.map(({ file }) => file);
  // All of them are whole before any of it is judged.
  for await (const _ of framesOf(first.header, inOrder));
  return {
    header: first.header,
    sources: filesOf(first.header, inOrder),
  };
}

function checkHeader(name: string, line: Uint8Array | undefined, readers: readonly string[]): Header {
  let header: Partial<Header> | undefined;
  try {
    header = line === undefined ? undefined : JSON.parse(Buffer.from(line).toString('utf8'));
  } catch {}
  const { format, of, shard, sources } = header ?? {};
  const isOne =
    format === READINGS_FORMAT &&
    isCount(of, MAX_SHARDS) &&
    isCount(shard, MAX_SHARDS) &&
    shard < of &&
    Array.isArray(sources) &&
    sources.every((one) => typeof one?.name === 'string' && isCount(one.bytes, Number.MAX_SAFE_INTEGER));
  if (!isOne) throw refused(name, `is no file of readings (${READINGS_FORMAT})`, 'make it with merit backtest --shard');
  if (JSON.stringify(header?.readers) !== JSON.stringify(readers))
    throw refused(name, 'was read for other suites', 'read the shards anew with these suites');
  return header as Header;
}

function isCount(value: unknown, most: number): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= most;
}

function refused(field: string, problem: string, mend: string): RefusedInput {
  return new RefusedInput([refuse('readings', field, problem, mend)]);
}

/** The files of the archive as chunks of records: f64 lines of the file before the chunk's part, then whole records. */
function* filesOf(header: Header, files: readonly ReadingsFile[]): Generator<AsyncIterable<Uint8Array>> {
  const sizes = header.sources.map(({ bytes }) => bytes);
  const parts = sizes.map(() => 0);
  for (let shard = 0; shard < header.of; shard++)
    for (const { source } of partsOf(sizes, shard, header.of)) parts[source]!++;
  const frames = framesOf(header, files);
  for (const count of parts) yield fileOf(count, frames);
}

/** The next file, of so many parts. */
async function* fileOf(parts: number, frames: AsyncGenerator<Frame>): AsyncGenerator<Uint8Array> {
  let lines = 0;
  for (let left = parts; left > 0; ) {
    const { value } = await frames.next();
    if (value === undefined) return;
    if (value.kind === 'part_end') {
      lines += value.lines;
      left--;
    } else {
      const head = Buffer.alloc(8);
      head.writeDoubleLE(lines);
      yield Buffer.concat([head, value.block]);
    }
  }
}

type Frame =
  | { readonly kind: 'records'; readonly block: Buffer }
  | { readonly kind: 'part_end'; readonly lines: number };

async function* framesOf(header: Header, files: readonly ReadingsFile[]): AsyncGenerator<Frame> {
  for (const [shard, { name, open }] of files.entries()) {
    const bytes = new ByteReader(open());
    try {
      yield* framesIn(bytes, header, shard, () => refused(name, 'is cut or damaged', 'read the shard anew'));
    } finally {
      await bytes.close();
    }
  }
}

async function* framesIn(
  bytes: ByteReader,
  header: Header,
  shard: number,
  cut: () => RefusedInput,
): AsyncGenerator<Frame> {
  const hash = createHash('sha256');
  hash.update((await bytes.line(MAX_HEADER_BYTES)) ?? '').update('\n');
  const sizes = header.sources.map((source) => source.bytes);
  const left = partsOf(sizes, shard, header.of).map(({ source }) => source);
  for (;;) {
    const head = await bytes.exactly(5);
    const length = head?.readUInt32LE(1) ?? 0;
    const payload = head === undefined || length > MAX_FRAME_BYTES ? undefined : await bytes.exactly(length);
    if (head === undefined || payload === undefined) throw cut();
    const kind = head.readUInt8();
    if (kind === FRAME.end) {
      const isWhole = left.length === 0 && hash.digest().equals(payload) && (await bytes.exactly(1)) === undefined;
      if (!isWhole) throw cut();
      return;
    }
    hash.update(head).update(payload);
    if (kind === FRAME.records) yield { kind: 'records', block: payload };
    else if (kind === FRAME.partEnd && payload.length === 12 && left.shift() === payload.readUInt32LE())
      yield { kind: 'part_end', lines: payload.readDoubleLE(4) };
    else throw cut();
  }
}

type Accepted = Extract<Reading, { kind: 'accepted' }>;

/** As `referencePipeline` of one suite, over chunks of records. `reader` is the suite's place among `readers` of them. */
export function readingsPipeline(
  suite: Suite,
  reader: number,
  readers: number,
  sink: {
    take(accepted: { readonly contribution: Contribution | null }, digest: Uint8Array): void;
    setAside(line: number, kind: 'quarantined' | 'conflict', fault: LineFault): void;
  },
): ReferencePipeline<Accepted> {
  const seen = new FirstWins();
  return new ReferencePipeline<Accepted>({
    splitLines: (onLine) => ({
      push: (chunk) => {
        const all = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
        const before = all.readDoubleLE();
        const block = all.subarray(8);
        for (const { line, at } of recordsOf(block, readers))
          onLine({ kind: 'line', number: before + line, bytes: block.subarray(at[reader]) });
      },
      finish: () => {},
    }),
    read: (bytes) => {
      const reading = readingAt(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0, suite);
      return reading.kind === 'fault' ? { ok: false, fault: reading.fault } : { ok: true, report: reading };
    },
    tooLong: TOO_LONG,
    identify: ({ key, digest }) => ({ key, digest }),
    offer: (key, digest) => seen.offer(key, digest),
    take: (accepted, digest) => sink.take(accepted, digest),
    setAside: (line, kind, fault) => sink.setAside(line, kind, fault),
  });
}
