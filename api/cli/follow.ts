import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from './client.ts';
import { problemError } from './client.ts';
import { CliError, EXIT } from './exit.ts';
import type { Io } from './io.ts';
import { endExit } from './job-ref.ts';
import type { Row } from './render.ts';
import { plainText } from './text.ts';

const POLL_MS = 500;
/** While the server is away, a follower asks again this long before it gives up. */
const AWAY_LIMIT_MS = 60_000;

/** The server answers, a job's provider does not. */
const PROVIDER_AWAY = 'provider_away';

export interface LogPosition {
  readonly attempt: number | undefined;
  readonly fromByte: number;
}

interface Piece {
  readonly bytes: Buffer;
  readonly attempt: number;
  readonly nextByte: number;
  readonly done: boolean;
}

/** A piece of a job's log; undefined where it has none yet. */
async function readPiece(client: Client, jobId: string, at: LogPosition): Promise<Piece | undefined> {
  const attempt = at.attempt === undefined ? '' : `&attempt=${at.attempt}`;
  const reply = await client.request('GET', `/v1/jobs/${jobId}/logs?from=${at.fromByte}${attempt}`);
  if (reply.status === 404) return undefined;
  if (reply.status >= 400) {
    let problem: unknown;
    try {
      problem = JSON.parse(reply.bytes.toString('utf8'));
    } catch {
      problem = undefined;
    }
    throw problemError(reply.status, problem);
  }
  return {
    bytes: reply.bytes,
    attempt: Number(reply.headers.get('merit-log-attempt')),
    nextByte: Number(reply.headers.get('merit-log-next')),
    done: reply.headers.get('merit-log-done') === 'true',
  };
}

/** Copies a log to stdout up to where it is now; returns where to go on. On a terminal escape sequences are taken out. */
export async function copyLog(
  client: Client,
  io: Io,
  jobId: string,
  from: LogPosition,
): Promise<{ readonly at: LogPosition; readonly done: boolean; readonly any: boolean }> {
  let at = from;
  for (let any = false; ; any = true) {
    const piece = await readPiece(client, jobId, at);
    if (piece === undefined) return { at, done: false, any };
    if (piece.bytes.length > 0)
      await io.out(io.stdoutIsTerminal ? plainText(piece.bytes.toString('utf8')) : piece.bytes);
    // A new attempt starts its own log at byte 0.
    at = { attempt: from.attempt === undefined ? undefined : piece.attempt, fromByte: piece.nextByte };
    if (piece.bytes.length === 0 || piece.done) return { at, done: piece.done, any: any || piece.bytes.length > 0 };
  }
}

/** Asks again while the server is away for a moment (a restart does not end a follower). */
async function patiently<T>(io: Io, signal: AbortSignal, ask: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + AWAY_LIMIT_MS;
  for (let told = false; ; ) {
    try {
      return await ask();
    } catch (error) {
      const away = error instanceof CliError && error.exitCode === EXIT.unreachable && error.code !== PROVIDER_AWAY;
      if (!away || performance.now() > deadline || signal.aborted) throw error;
      if (!told) io.progress('the server is away; asking again …');
      told = true;
      await sleep(POLL_MS, undefined, { signal });
    }
  }
}

/** Follows a job to its end; tells each change of state on stderr, and its log on stdout where `withLog`. Returns the ended job. */
export async function followJob(
  client: Client,
  io: Io,
  jobId: string,
  signal: AbortSignal,
  withLog: boolean,
): Promise<Row> {
  let shown = '';
  let silent = false;
  let attempt: unknown;
  let at: LogPosition = { attempt: undefined, fromByte: 0 };
  for (;;) {
    const job = await patiently(io, signal, () => client.get<Row>(`/v1/jobs/${jobId}`));
    const [reason] = Array.isArray(job.reasons) ? (job.reasons as { text?: unknown }[]) : [];
    const now = `${String(job.state)}${reason?.text === undefined ? '' : `: ${String(reason.text)}`}`;
    if (now !== shown) io.note(`${String(job.name)} is ${now}`);
    shown = now;
    if (attempt !== job.attempt) at = { attempt: Number(job.attempt), fromByte: 0 };
    attempt = job.attempt;
    if (
      withLog &&
      (job.state === 'applied' ||
        job.state === 'draining' ||
        job.state === 'releasing' ||
        endExit(job.state) !== undefined)
    ) {
      try {
        at = (await patiently(io, signal, () => copyLog(client, io, jobId, at))).at;
      } catch (error) {
        // The job may go on, or end, without its provider; its state tells.
        if (!(error instanceof CliError && error.code === PROVIDER_AWAY)) throw error;
        if (!silent) io.note(error.message);
        silent = true;
      }
    }
    if (endExit(job.state) !== undefined) return job;
    await sleep(POLL_MS, undefined, { signal });
  }
}
