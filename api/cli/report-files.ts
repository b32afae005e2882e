import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { addAbortSignal, type Readable } from 'node:stream';
import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import { parseSuite, type Suite } from '../../core/suite.ts';
import { parseYaml } from '../../platform/yaml.ts';
import { errorCode } from './offline-output.ts';

/** The files of the commands that work offline: a suite, and reports of any size. */

/** A suite is written by hand; anything longer is a mistake. */
const MAX_SUITE_BYTES = 1024 * 1024;
const READ_BYTES = 1024 * 1024;

/** Pushes every refusal at once, with `flag` as the field where the file itself is at fault. */
export async function readSuite(flag: string, path: string, refusals: Refusal[]): Promise<Suite | undefined> {
  const text = await readSmallFile(flag, path, refusals);
  if (text === undefined) return undefined;
  const reading = parseYaml(text);
  if (!reading.ok) {
    refusals.push(...reading.refusals);
    return undefined;
  }
  return checkSuite(reading.value, refusals);
}

export function checkSuite(value: unknown, refusals: Refusal[]): Suite | undefined {
  try {
    return parseSuite(value);
  } catch (error) {
    if (!(error instanceof RefusedInput)) throw error;
    refusals.push(...error.refusals);
    return undefined;
  }
}

/** A regular file of at most 1 MiB of UTF-8: a FIFO nobody writes must not hang us, a device must not fill memory. */
async function readSmallFile(flag: string, path: string, refusals: Refusal[]): Promise<string | undefined> {
  try {
    const info = await stat(path);
    if (!info.isFile()) throw new Unusable('file_type', 'is not a regular file', 'name a file');
    if (info.size > MAX_SUITE_BYTES)
      throw new Unusable('size', `is larger than ${MAX_SUITE_BYTES} bytes`, 'check the path');
    await using file = await open(path, 'r');
    const { bytesRead, buffer } = await file.read(Buffer.alloc(MAX_SUITE_BYTES + 1), 0, MAX_SUITE_BYTES + 1, 0);
    if (bytesRead > MAX_SUITE_BYTES)
      throw new Unusable('size', `is larger than ${MAX_SUITE_BYTES} bytes`, 'check the path');
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(buffer.subarray(0, bytesRead));
  } catch (error) {
    refusals.push(fileRefusal(`${flag} ${JSON.stringify(path)}`, error));
    return undefined;
  }
}

class Unusable extends Error {
  readonly code: string;
  readonly problem: string;
  readonly mend: string;
  constructor(code: string, problem: string, mend: string) {
    super(problem);
    this.code = code;
    this.problem = problem;
    this.mend = mend;
  }
}

function fileRefusal(field: string, error: unknown): Refusal {
  if (error instanceof Unusable) return refuse(error.code, field, error.problem, error.mend);
  if (error instanceof TypeError) return refuse('encoding', field, 'is not valid UTF-8', 'save it as UTF-8');
  const code = errorCode(error);
  if (code === 'ENOENT' || code === 'ENOTDIR') return refuse('not_found', field, 'does not exist', 'check the path');
  return refuse('unreadable', field, `cannot be read (${code ?? 'unknown error'})`, 'check the path and its rights');
}

/** A file that names reports, one path a line; blank lines count nothing. Throws RefusedInput. */
export async function readReportsList(path: string): Promise<readonly string[]> {
  const refusals: Refusal[] = [];
  const text = await readSmallFile('--reports-list', path, refusals);
  if (text === undefined) throw new RefusedInput(refusals);
  return text.split('\n').filter((line) => line.trim() !== '');
}

/** Every file is opened once before the first is read, so that a mistyped second path costs no work. */
export async function checkReports(paths: readonly string[], refusals: Refusal[]): Promise<void> {
  if (paths.filter((path) => path === '-').length > 1) {
    refusals.push(refuse('value', '--reports -', 'is given twice', 'stdin can be read once'));
  }
  for (const path of paths) {
    if (path === '-') continue;
    const field = `--reports ${JSON.stringify(path)}`;
    try {
      const info = await stat(path);
      if (info.isDirectory()) throw new Unusable('file_type', 'is a folder', 'name a file');
      // Opening a FIFO here would take its writer away from the real read.
      if (info.isFile()) await (await open(path, 'r')).close();
    } catch (error) {
      refusals.push(fileRefusal(field, error));
    }
  }
}

/** An abort ends a read that waits for input, as a terminal's does. */
export function* openReports(
  paths: readonly string[],
  stdin: Readable,
  signal: AbortSignal | undefined,
): Generator<AsyncIterable<Uint8Array>> {
  for (const path of paths) {
    const source = path === '-' ? stdin : createReadStream(path, { highWaterMark: READ_BYTES });
    yield signal === undefined ? source : addAbortSignal(signal, source);
  }
}
