import { createHash, type Hash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { canonicalText } from '../../../core/canonical.ts';
import { reportDigest, reportKey } from '../../../core/eval-report.ts';
import { LineSplitter } from '../../../core/ndjson.ts';
import type { Suite } from '../../../core/suite.ts';
import { readChecked, TOO_LONG } from '../../rules/oracle.ts';
import { readerKey } from '../reader-key.ts';
import { FRAME, type Header, READINGS_FORMAT } from './header.ts';
import { linesBetween } from './line-window.ts';
import { type Part, partsOf } from './parts.ts';
import { type Reading, RecordWriter } from './record.ts';

/** A file of reports, to be read from any byte on. */
export interface ArchiveFile {
  readonly name: string;
  readonly bytes: number;
  open(fromByte: number): AsyncIterable<Uint8Array>;
}

export interface ShardInput {
  /** One suite a reader, as `readerSuites` gives them. */
  readonly suites: readonly Suite[];
  /** They form one log, in order. */
  readonly files: readonly ArchiveFile[];
  /** From 0. */
  readonly shard: number;
  readonly of: number;
  readonly signal?: AbortSignal | undefined;
  /** Called now and then with the lines read so far. */
  readonly onProgress?: (lines: number) => Promise<void>;
}

/** A block of records is given away at this size. */
const BLOCK_BYTES = 256 * 1024;

/**
 * Reads one shard of an archive: checks its lines, hashes ids and contents, and gives what they come to, as bytes for `merge.ts`. What is first of
 * its id, and what any of it means for a score, only the whole archive tells: that is judged there.
 */
export async function* shardReadings(input: ShardInput): AsyncGenerator<Uint8Array> {
  const { suites, files, shard, of, signal } = input;
  const sources = files.map(({ name, bytes }) => ({ name, bytes }));
  const header: Header = { format: READINGS_FORMAT, of, readers: suites.map(readerKey), shard, sources };
  const hash = createHash('sha256');
  yield hashed(hash, Buffer.from(`${canonicalText(header as never)}\n`));
  const writer = new RecordWriter(suites);
  let lines = 0;
  const sizes = files.map(({ bytes }) => bytes);
  for (const part of partsOf(sizes, shard, of)) {
    const file = files[part.source]!;
    const splitter = splitterOf(suites, writer);
    for await (const chunk of linesBetween(file.open(Math.max(0, part.fromByte - 1)), part.fromByte, part.untilByte)) {
      signal?.throwIfAborted();
      splitter.push(chunk);
      if (writer.size >= BLOCK_BYTES) yield hashed(hash, frame(FRAME.records, writer.take()));
      await input.onProgress?.(lines + splitter.lines);
      await nextTurn();
    }
    splitter.finish();
    lines += splitter.lines;
    if (writer.size > 0) yield hashed(hash, frame(FRAME.records, writer.take()));
    yield hashed(hash, frame(FRAME.partEnd, partEnd(part, splitter.lines)));
  }
  yield frame(FRAME.end, hash.digest());
}

function splitterOf(suites: readonly Suite[], writer: RecordWriter): LineSplitter {
  const named = suites.map((suite) => new Map([[suite.name, suite]]));
  return new LineSplitter((line) => {
    const readings = named.map((suite) => (line.kind === 'too_long' ? TOO_LONG_READING : readingOf(line.bytes, suite)));
    writer.add(line.number, readings);
  });
}

const TOO_LONG_READING: Reading = { kind: 'fault', fault: TOO_LONG };

function readingOf(line: Uint8Array, suites: ReadonlyMap<string, Suite>): Reading {
  const reading = readChecked(line, suites);
  if (!reading.ok) return { kind: 'fault', fault: reading.fault };
  const { report, contribution } = reading.report;
  return { kind: 'accepted', key: reportKey('', report), digest: reportDigest(report), contribution };
}

function frame(kind: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(kind);
  head.writeUInt32LE(payload.length, 1);
  return Buffer.concat([head, payload]);
}

function partEnd({ source }: Part, lines: number): Buffer {
  const payload = Buffer.alloc(12);
  payload.writeUInt32LE(source);
  payload.writeDoubleLE(lines, 4);
  return payload;
}

function hashed(hash: Hash, bytes: Buffer): Buffer {
  hash.update(bytes);
  return bytes;
}
