import type { Readable, Writable } from 'node:stream';
import { OperatingError } from '../../core/operating-error.ts';
import { type Refusal, refusalText, refuse } from '../../core/refusal.ts';
import { isWritableInstant, parseRfc3339 } from '../../core/rfc3339.ts';
import { CliError, EXIT, toldAs } from './exit.ts';
import { errorCode, Output, OutputFailed, OutputGone, Progress } from './offline-output.ts';
import { openReports } from './report-files.ts';

/** What `merit score` and `merit backtest` share: streams of reports in, one result out, and how their failures are told. */

export interface OfflineIo {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly signal?: AbortSignal;
}

/** A line that was set aside. */
interface Notice {
  readonly line: number;
  readonly reason: string;
}

const OUTPUTS = ['table', 'wide', 'json', 'yaml', 'name'];

/** Ends the command: everything that is wrong with what was asked for. */
export class Refused extends Error {
  readonly exitCode: number;
  readonly refusals: readonly Refusal[];
  constructor(exitCode: number, refusals: readonly Refusal[]) {
    super('refused');
    this.exitCode = exitCode;
    this.refusals = refusals;
  }
}

/** One run of a command. */
export interface OfflineRun {
  /** The reports, one source a path. */
  readonly sources: Iterable<AsyncIterable<Uint8Array>>;
  readonly signal: AbortSignal | undefined;
  /** Tells what a chunk set aside, and how far reading has come. `names`: what the sources are called, the reports where absent. */
  onChunk(notices: readonly Notice[], source: number, linesDone: number, names?: readonly string[]): Promise<void>;
  /** Writes the result, and waits until it is handed over. */
  write(pieces: Iterable<string>): Promise<void>;
}

export interface OfflineOptions {
  /** Paths of NDJSON files, `-` for stdin. */
  readonly reports: readonly string[];
  readonly output: string;
}

/**
 * Runs an offline command. Exit codes beside the work's own: 2 usage, 3 a value or file that cannot be used, 1 output not
 * written or storage failing, 130 interrupted.
 */
export async function runOffline(
  command: string,
  options: OfflineOptions,
  io: OfflineIo,
  work: (run: OfflineRun) => Promise<number>,
): Promise<number> {
  const out = new Output(io.stdout);
  // A lost stderr is no reason to withhold the result.
  const err = new Output(io.stderr, true);
  const progress = new Progress(io.stderr, err);
  try {
    checkOptions(options);
    return await work(openRun(options.reports, io, out, err, progress));
  } catch (error) {
    await progress.clear();
    const { exitCode, refusals } = outcomeOf(error, io);
    const line = (refusal: Refusal) =>
      options.output === 'json' ? JSON.stringify({ error: refusal }) : `merit ${command}: ${refusalText(refusal)}`;
    if (refusals.length > 0) await err.write(`${refusals.map(line).join('\n')}\n`);
    return exitCode;
  } finally {
    out.release();
    err.release();
  }
}

function checkOptions(options: OfflineOptions): void {
  if (options.reports.length === 0) {
    throw new Refused(EXIT.usage, [refuse('required', '--reports', 'is missing', 'name a file, or - for stdin')]);
  }
  if (!OUTPUTS.includes(options.output)) {
    const refusal = refuse('value', '--output', `must be ${OUTPUTS.join(', ')}`, 'write -o json');
    throw new Refused(EXIT.badValue, [refusal]);
  }
}

function openRun(reports: readonly string[], io: OfflineIo, out: Output, err: Output, progress: Progress): OfflineRun {
  return {
    sources: openReports(reports, io.stdin, io.signal),
    signal: io.signal,
    onChunk: async (notices, source, linesDone, names = reports) => {
      if (notices.length > 0) {
        await progress.clear();
        await err.write(noticeLines(notices, names.length > 1 ? names[source] : undefined));
      }
      await progress.show(linesDone);
    },
    write: async (pieces) => {
      await progress.clear();
      for (const piece of pieces) await out.write(piece);
      await out.flushed();
    },
  };
}

/** One JSON object a line; `file` only where there are several, so that the line number says enough. */
function noticeLines(notices: readonly Notice[], file: string | undefined): string {
  return notices.map((notice) => `${JSON.stringify(file === undefined ? notice : { file, ...notice })}\n`).join('');
}

/** An instant given as a flag. */
export function readInstant(flag: string, text: string, refusals: Refusal[]): number | undefined {
  const atMs = parseRfc3339(text);
  if (atMs !== undefined && isWritableInstant(atMs)) return atMs;
  refusals.push(refuse('time_format', flag, 'must be an RFC 3339 date-time with a zone', 'write 2026-11-23T10:00:00Z'));
  return undefined;
}

interface Outcome {
  readonly exitCode: number;
  readonly refusals: readonly Refusal[];
}

function outcomeOf(error: unknown, io: OfflineIo): Outcome {
  if (error instanceof Refused) return error;
  if (error instanceof CliError) throw error;
  // As with `| head`: whoever read has seen enough, and there is nobody to complain to.
  if (error instanceof OutputGone) return { exitCode: EXIT.ok, refusals: [] };
  if (io.signal?.aborted === true) return { exitCode: EXIT.interrupted, refusals: [] };
  if (error instanceof OperatingError) {
    const { exitCode, code, problem, mend } = toldAs(error);
    return { exitCode, refusals: [refuse(code, '', problem, mend ?? 'run it again')] };
  }
  const code = errorCode(error);
  if (!(error instanceof OutputFailed) && code === undefined) throw error;
  const [problem, mend] =
    error instanceof OutputFailed
      ? [`the output was not written: ${error.message}`, 'make room, or write elsewhere']
      : [`reading or spilling failed (${code})`, 'check the disk and the files'];
  return { exitCode: EXIT.internal, refusals: [refuse('storage', '', problem, mend)] };
}
