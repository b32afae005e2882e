import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { RefusedInput } from '../../core/refusal.ts';
import { type Witnessed, witnessedReader } from '../../ledger/audit/bundle-witness.ts';
import { type Coverage, stateReader } from '../../ledger/audit/coverage.ts';
import { lineSplitter, readLine } from '../../ledger/audit/lines.ts';
import { parseRoots, type Roots } from '../../ledger/audit/roots.ts';
import { CliError, EXIT } from './exit.ts';
import { readInputFile } from './files.ts';
import type { Io } from './io.ts';

/** The files that a check is given, read as streams: a chain may be larger than the memory. */

export async function readRoots(io: Io, path: string): Promise<Roots> {
  const reading = parseRoots(await readInputFile(io, path));
  if (!reading.ok) throw new RefusedInput([reading.refusal]);
  return reading.roots;
}

/** The bytes of a regular file; `-` is stdin. */
export async function openedFile(io: Io, path: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
  if (path === '-') return io.stdin as unknown as AsyncIterable<Uint8Array>;
  const target = resolve(io.cwd, path);
  const info = await stat(target).catch(() => undefined);
  if (info?.isFile() !== true) {
    throw new CliError(
      EXIT.badValue,
      'file',
      `${JSON.stringify(path)} ${info === undefined ? 'does not exist' : 'is not a regular file'}`,
      { mend: 'check the path' },
    );
  }
  return createReadStream(target, { signal });
}

export async function readWitnessed(io: Io, path: string, roots: Roots, signal: AbortSignal): Promise<Witnessed> {
  const reader = witnessedReader(roots);
  await eachLine(io, path, signal, (bytes) => reader.push(Buffer.concat([bytes, Buffer.of(10)])));
  return reader.end();
}

export async function readState(io: Io, path: string, signal: AbortSignal): Promise<Coverage> {
  const reader = stateReader();
  await eachLine(io, path, signal, (bytes) => {
    const line = readLine(bytes);
    return typeof line === 'string' ? line : reader.push(line);
  });
  const coverage = reader.end();
  if (coverage === undefined) throw unusable(path, 'is cut: it has no end');
  return coverage;
}

/** A file that is itself not to be believed says nothing about the chain: 3, never 10. */
function unusable(path: string, problem: string): CliError {
  return new CliError(EXIT.badValue, 'file', `${JSON.stringify(path)} ${problem}`, {
    mend: 'get it again, from whoever keeps it',
  });
}

async function eachLine(
  io: Io,
  path: string,
  signal: AbortSignal,
  take: (bytes: Uint8Array) => string | undefined,
): Promise<void> {
  let number = 0;
  const splitter = lineSplitter((bytes) => {
    number++;
    const problem = bytes === undefined ? 'is longer than any line we write' : take(bytes);
    if (problem !== undefined) throw unusable(path, `line ${number} ${problem}`);
  });
  for await (const chunk of await openedFile(io, path, signal)) splitter.push(chunk);
  if (!splitter.end()) throw unusable(path, 'is cut: the last line has no end');
}
