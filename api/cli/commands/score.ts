import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { addAbortSignal, type Readable, type Writable } from 'node:stream';
import { type Refusal, RefusedInput, refusalText, refuse } from '../../../core/refusal.ts';
import { isWritableInstant, parseRfc3339 } from '../../../core/rfc3339.ts';
import { parseSuite, type Suite } from '../../../core/suite.ts';
import { parseYaml, stringifyYaml } from '../../../platform/yaml.ts';
import { jsonPieces, tablePieces } from '../../../scoring/offline/render.ts';
import { type Notice, type OfflineScores, scoreStream } from '../../../scoring/offline/score-stream.ts';

export interface ScoreOptions {
  /** Path of the suite, YAML or JSON. */
  readonly suite: string;
  /** Paths of NDJSON files, `-` for stdin. */
  readonly reports: readonly string[];
  /** RFC 3339. */
  readonly at: string;
  readonly output: string;
}

export interface ScoreIo {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly signal?: AbortSignal;
}

const OK = 0;
const NOT_WRITTEN = 1;
const USAGE = 2;
const BAD_VALUE = 3;
const EMPTY = 11;
const INTERRUPTED = 130;

const OUTPUTS = ['table', 'wide', 'json', 'yaml', 'name'];
/** A suite is written by hand; anything longer is a mistake. */
const MAX_SUITE_BYTES = 1024 * 1024;
const READ_BYTES = 1024 * 1024;
/** Lines between two updates of the progress line. */
const PROGRESS_LINES = 20_000;

/** The reader of stdout or stderr went away: nothing more to tell anybody. */
class OutputGone extends Error {}
/** The output could not be written: a full disk, for one. */
class OutputFailed extends Error {}

/**
 * `merit score`: scores reports offline and prints the published object. Exit codes: 0 if any report was accepted, 11 if
 * none was, 2 usage, 3 a value or file that cannot be used, 1 output not written, 130 interrupted.
 */
export async function run(options: ScoreOptions, io: ScoreIo): Promise<number> {
  const out = new Output(io.stdout);
  // A lost stderr is no reason to withhold the scores.
  const err = new Output(io.stderr, true);
  try {
    return await score(options, io, out, err);
  } catch (error) {
    return await failed(error, options, io, err);
  } finally {
    out.release();
    err.release();
  }
}

async function score(options: ScoreOptions, io: ScoreIo, out: Output, err: Output): Promise<number> {
  if (options.reports.length === 0) {
    return await refused(
      USAGE,
      [refuse('required', '--reports', 'is missing', 'name a file, or - for stdin')],
      options,
      err,
    );
  }
  if (!OUTPUTS.includes(options.output)) {
    const refusal = refuse('value', '--output', `must be ${OUTPUTS.join(', ')}`, 'write -o json');
    return await refused(BAD_VALUE, [refusal], options, err);
  }
  const refusals: Refusal[] = [];
  const atMs = parseRfc3339(options.at);
  if (atMs === undefined || !isWritableInstant(atMs)) {
    refusals.push(
      refuse('time_format', '--at', 'must be an RFC 3339 date-time with a zone', 'write 2026-11-23T10:00:00Z'),
    );
  }
  const suite = await readSuite(options.suite, refusals);
  await checkReports(options.reports, refusals);
  if (suite === undefined || atMs === undefined || refusals.length > 0) {
    return await refused(BAD_VALUE, refusals, options, err);
  }
  const scores = await scoreAll(suite, atMs, options.reports, io, err);
  for (const piece of pieces(scores, options.output)) await out.write(piece);
  await out.flushed();
  return scores.accepted > 0 ? OK : EMPTY;
}

function scoreAll(
  suite: Suite,
  atMs: number,
  reports: readonly string[],
  io: ScoreIo,
  err: Output,
): Promise<OfflineScores> {
  const progress = new Progress(io.stderr, err);
  return scoreStream({
    suite,
    atMs,
    sources: openReports(reports, io.stdin, io.signal),
    signal: io.signal,
    onChunk: async (notices, source, linesDone) => {
      if (notices.length > 0) {
        await progress.clear();
        await err.write(noticeLines(notices, reports.length > 1 ? reports[source] : undefined));
      }
      await progress.show(linesDone);
    },
  }).finally(() => progress.clear());
}

/** One JSON object a line; `file` only where there are several, so that the line number says enough. */
function noticeLines(notices: readonly Notice[], file: string | undefined): string {
  return notices.map((notice) => `${JSON.stringify(file === undefined ? notice : { file, ...notice })}\n`).join('');
}

function* pieces(scores: OfflineScores, output: string): Generator<string> {
  if (output === 'json') yield* jsonPieces(scores);
  else if (output === 'yaml') yield stringifyYaml(scores);
  else if (output === 'name') yield* scores.models.map((model) => `${model.model}\n`);
  else yield* tablePieces(scores, output === 'wide');
}

async function readSuite(path: string, refusals: Refusal[]): Promise<Suite | undefined> {
  const text = await readSmallFile(path, refusals);
  if (text === undefined) return undefined;
  const reading = parseYaml(text);
  if (!reading.ok) {
    refusals.push(...reading.refusals);
    return undefined;
  }
  try {
    return parseSuite(reading.value);
  } catch (error) {
    if (!(error instanceof RefusedInput)) throw error;
    refusals.push(...error.refusals);
    return undefined;
  }
}

/** A regular file of at most 1 MiB of UTF-8: a FIFO nobody writes must not hang us, a device must not fill memory. */
async function readSmallFile(path: string, refusals: Refusal[]): Promise<string | undefined> {
  const field = `--suite ${JSON.stringify(path)}`;
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
    refusals.push(fileRefusal(field, error));
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

/** Every file is opened once before the first is scored, so that a mistyped second path costs no work. */
async function checkReports(paths: readonly string[], refusals: Refusal[]): Promise<void> {
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
function* openReports(
  paths: readonly string[],
  stdin: Readable,
  signal: AbortSignal | undefined,
): Generator<AsyncIterable<Uint8Array>> {
  for (const path of paths) {
    const source = path === '-' ? stdin : createReadStream(path, { highWaterMark: READ_BYTES });
    yield signal === undefined ? source : addAbortSignal(signal, source);
  }
}

async function refused(
  exitCode: number,
  refusals: readonly Refusal[],
  options: ScoreOptions,
  err: Output,
): Promise<number> {
  const line = (refusal: Refusal) =>
    options.output === 'json' ? JSON.stringify({ error: refusal }) : `merit score: ${refusalText(refusal)}`;
  await err.write(`${refusals.map(line).join('\n')}\n`);
  return exitCode;
}

async function failed(error: unknown, options: ScoreOptions, io: ScoreIo, err: Output): Promise<number> {
  // As with `| head`: whoever read has seen enough, and there is nobody to complain to.
  if (error instanceof OutputGone) return OK;
  if (io.signal?.aborted === true) return INTERRUPTED;
  const code = errorCode(error);
  if (!(error instanceof OutputFailed) && code === undefined) throw error;
  const [problem, mend] =
    error instanceof OutputFailed
      ? [`the output was not written: ${error.message}`, 'make room, or write elsewhere']
      : [`reading or spilling failed (${code})`, 'check the disk and the files'];
  return await refused(NOT_WRITTEN, [refuse('storage', '', problem, mend)], options, err);
}

function errorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** Writes with back-pressure; a stream's error becomes OutputGone or OutputFailed, and never an unhandled event. */
class Output {
  readonly #stream: Writable;
  readonly #tolerant: boolean;
  #error: Error | undefined;
  readonly #onError = (error: Error) => {
    this.#error ??= error;
  };

  constructor(stream: Writable, tolerant = false) {
    this.#stream = stream;
    this.#tolerant = tolerant;
    stream.on('error', this.#onError);
  }

  async write(text: string): Promise<void> {
    this.#check();
    if (this.#error !== undefined) return;
    await new Promise<void>((resolve) => {
      this.#stream.write(text, (error) => {
        if (error != null) this.#error ??= error;
        resolve();
      });
    });
    this.#check();
  }

  /** Some errors arrive as events after the last write was called back. */
  async flushed(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#check();
  }

  #check(): void {
    const error = this.#error;
    if (error === undefined || this.#tolerant) return;
    const code = errorCode(error);
    throw code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED'
      ? new OutputGone('the reader went away')
      : new OutputFailed(code ?? error.message);
  }

  release(): void {
    // Without a fault the listener goes; with one it stays, since a late event must not end the process.
    if (this.#error === undefined) this.#stream.removeListener('error', this.#onError);
  }
}

/** A line that counts up, on a terminal only. */
class Progress {
  readonly #visible: boolean;
  readonly #err: Output;
  #shown = 0;

  constructor(stream: Writable, err: Output) {
    this.#visible = 'isTTY' in stream && stream.isTTY === true;
    this.#err = err;
  }

  async show(lines: number): Promise<void> {
    if (!this.#visible || lines - this.#shown < PROGRESS_LINES) return;
    this.#shown = lines;
    await this.#err.write(`\r${lines} lines`);
  }

  async clear(): Promise<void> {
    if (this.#shown > 0) await this.#err.write('\r\u001b[K');
  }
}
