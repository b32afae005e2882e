import { createReadStream } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import type { Suite } from '../../core/suite.ts';
import { MAX_SHARDS } from '../../scoring/backtest/readings/header.ts';
import { openReadings, type Readings } from '../../scoring/backtest/readings/merge.ts';
import { type ArchiveFile, shardReadings } from '../../scoring/backtest/readings/read-shard.ts';
import { EXIT } from './exit.ts';
import { type OfflineRun, Refused } from './offline-command.ts';

/** The two halves of a backtest whose archive is read in shards: reading one into a file, and judging the files of all of them. */

const READ_BYTES = 1024 * 1024;

export interface Shard {
  /** From 0. */
  readonly shard: number;
  readonly of: number;
}

/** `3/16`, from 0/16 on. */
export function parseShard(text: string): Shard {
  const match = /^(0|[1-9][0-9]{0,3})\/([1-9][0-9]{0,3})$/.exec(text);
  const [shard, of] = [Number(match?.[1]), Number(match?.[2])];
  if (match === null || shard >= of || of > MAX_SHARDS) {
    const problem = `is ${JSON.stringify(text.slice(0, 20))}, which is no shard of at most ${MAX_SHARDS}`;
    throw new Refused(EXIT.badValue, [refuse('value', '--shard', problem, 'write 0/16 up to 15/16')]);
  }
  return { shard, of };
}

/** Every file is one that can be read from any byte on. Throws Refused. */
export async function archiveFiles(paths: readonly string[]): Promise<readonly ArchiveFile[]> {
  const refusals: Refusal[] = [];
  const files: ArchiveFile[] = [];
  for (const path of paths) {
    const info = path === '-' ? undefined : await stat(path).catch(() => undefined);
    if (info?.isFile() === true) files.push({ name: path, bytes: info.size, open: (from) => bytesFrom(path, from) });
    else {
      const problem = 'is no file that can be read from any byte on';
      refusals.push(refuse('file_type', `--reports ${JSON.stringify(path)}`, problem, 'name a regular file'));
    }
  }
  if (refusals.length > 0) throw new Refused(EXIT.badValue, refusals);
  return files;
}

function bytesFrom(path: string, start: number): AsyncIterable<Uint8Array> {
  return createReadStream(path, { start, highWaterMark: READ_BYTES });
}

/** Reads one shard into a file, which is there whole or not at all. */
export async function writeShard(
  suites: readonly Suite[],
  reports: readonly string[],
  shard: Shard,
  target: string,
  { signal, onChunk }: OfflineRun,
): Promise<void> {
  const files = await archiveFiles(reports);
  const into = target.startsWith('file:') ? fileURLToPath(target) : target;
  const part = join(dirname(into), `.${basename(into)}.${process.pid}.part`);
  try {
    await using file = await open(part, 'w');
    const onProgress = (lines: number) => onChunk([], 0, lines);
    for await (const bytes of shardReadings({ suites, files, ...shard, signal, onProgress })) await file.write(bytes);
    await file.sync();
    await rename(part, into);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

/** Throws Refused. */
export async function readReadings(paths: readonly string[], suites: readonly Suite[]): Promise<Readings> {
  try {
    return await openReadings(
      paths.map((name) => ({ name, open: () => bytesFrom(name, 0) })),
      suites,
    );
  } catch (error) {
    if (!(error instanceof RefusedInput)) throw error;
    throw new Refused(EXIT.badValue, error.refusals);
  }
}
