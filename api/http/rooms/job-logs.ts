import { isEnded } from '../../../core/booking.ts';
import { attemptKey } from '../../../core/ids.ts';
import { OperatingError } from '../../../core/operating-error.ts';
import type { Tx } from '../../../platform/postgres.ts';
import { ProviderError } from '../../../providers/provider.ts';
import { type Booking, loadBooking } from '../../../scheduler/apply/booking-store.ts';
import { chunkAt, readChunksBefore, readKeptLog } from '../../../scheduler/apply/log-book.sql.ts';
import { type KeptLog, type LogChunk, readChunk } from '../../../scheduler/apply/log-book.ts';
import type { LogPiece, LogQuery } from '../jobs-service.ts';
import { MAX_TAIL_BYTES } from '../limits.ts';
import type { Caller } from '../services.ts';
import type { RoomPorts } from './base.ts';
import { reasonsOf } from './job-view.sql.ts';

const LOG_TIMEOUT_MS = 10_000;
/** A chunk that took the place of a shorter one while it was read. */
const MAX_MOVED = 3;
const CHUNKS_BACK = 16;

interface Found {
  readonly booking: Booking;
  readonly newest: number | null;
  /** The asked attempt; undefined: there is none, or none yet. */
  readonly log:
    | { readonly attempt: number; readonly pool: string; readonly over: boolean; readonly kept: KeptLog }
    | undefined;
  readonly chunk: LogChunk | undefined;
}

/** Logs of jobs: from the object store as far as they are kept, the rest from the provider while it has it. */
export class JobLogs {
  readonly #ports: RoomPorts;
  /** Followers of one log stand at one byte: one asks the provider, and all are told. */
  readonly #asked = new Map<string, Promise<Uint8Array>>();

  constructor(ports: RoomPorts) {
    this.#ports = ports;
  }

  /** undefined: no such job. */
  async piece(caller: Caller, jobId: string, query: LogQuery, signal: AbortSignal): Promise<LogPiece | undefined> {
    for (let moved = 0; ; moved++) {
      const found = await this.#find(caller, jobId, query);
      if (found === undefined) return undefined;
      const { booking, log, newest } = found;
      const job = {
        state: booking.state.state,
        ended: isEnded(booking.state.state),
        reasons: reasonsOf(booking.state).map((reason) => ({ ...reason })),
        newestAttempt: newest,
      };
      const nothing = { bytes: new Uint8Array(0), nextByte: query.fromByte, fault: null };
      if (log === undefined) return { ...nothing, attempt: null, done: job.ended, end: null, size: null, job };
      const end = log.kept.ended ?? null;
      const size = end === null ? null : log.kept.bytes;
      const told = { attempt: log.attempt, end, size, job };
      if (found.chunk !== undefined) {
        const bytes = await this.#stored(found.chunk, query);
        if (bytes !== undefined) {
          const nextByte = query.fromByte + bytes.length;
          return { ...told, bytes, nextByte, fault: null, done: end !== null && nextByte >= log.kept.bytes };
        }
        if (moved >= MAX_MOVED)
          throw new OperatingError('storage', 'safe', `reading the log of ${jobId} at byte ${query.fromByte}`, {
            cause: 'what is stored there is not what was stored',
          });
        continue;
      }
      if (end !== null || log.over || !isAtProvider(booking))
        return { ...told, ...nothing, done: end !== null || log.over };
      try {
        const bytes = await this.#live(booking, log.attempt, log.pool, query, signal);
        return { ...told, bytes, nextByte: query.fromByte + bytes.length, fault: null, done: false };
      } catch (error) {
        if (!(error instanceof ProviderError) && !(error instanceof OperatingError)) throw error;
        return { ...told, ...nothing, fault: error, done: false };
      }
    }
  }

  /** Where the last `lines` lines begin, looked for in the last MAX_TAIL_BYTES. undefined: no such job, or no log yet. */
  async tailFrom(
    caller: Caller,
    jobId: string,
    query: { readonly attempt: number | undefined; readonly lines: number },
    signal: AbortSignal,
  ): Promise<{ readonly attempt: number; readonly fromByte: number } | undefined> {
    const at = { attempt: query.attempt, fromByte: 0, maxBytes: MAX_TAIL_BYTES };
    const found = await this.#find(caller, jobId, at);
    if (found?.log === undefined) return undefined;
    const { attempt, kept, over } = found.log;
    const ends: Buffer[] = [];
    let size = 0;
    // What is not kept yet, forwards: a moment's worth.
    while (kept.ended === undefined && !over && isAtProvider(found.booking) && size < MAX_TAIL_BYTES) {
      const piece = await this.#live(
        found.booking,
        attempt,
        found.log.pool,
        { ...at, fromByte: kept.bytes + size },
        signal,
      );
      if (piece.length === 0) break;
      ends.push(Buffer.from(piece));
      size += piece.length;
    }
    const scan = new LinesBack(query.lines, kept.bytes + size);
    for (const bytes of ends.toReversed()) if (scan.take(bytes)) return { attempt, fromByte: scan.at };
    for (let before = kept.bytes; before > 0 && kept.bytes + size - before < MAX_TAIL_BYTES; ) {
      const chunks = await this.#ports.db.asTenant(caller.identity.tenant, (tx) =>
        readChunksBefore(tx, { bookingId: jobId, attempt }, before, CHUNKS_BACK),
      );
      if (chunks.length === 0) break;
      for (const chunk of chunks) {
        const bytes = await readChunk(this.#ports.store, chunk);
        // Taken away or replaced meanwhile: from here on is what can be told.
        if (bytes === undefined || scan.take(bytes)) return { attempt, fromByte: scan.at };
        before = chunk.fromByte;
      }
    }
    return { attempt, fromByte: scan.at };
  }

  async #find(caller: Caller, jobId: string, query: LogQuery): Promise<Found | undefined> {
    return this.#ports.db.asTenant(caller.identity.tenant, async (tx) => {
      const booking = await loadBooking(tx, jobId);
      if (booking === undefined) return undefined;
      const { newest, asked } = await attemptsOf(tx, jobId, query.attempt);
      if (asked === undefined) return { booking, newest, log: undefined, chunk: undefined };
      const of = { bookingId: jobId, attempt: asked.attempt };
      const kept = await readKeptLog(tx, of);
      const over = asked.ended_at !== null || asked.attempt < booking.state.attempt || isEnded(booking.state.state);
      const chunk = query.fromByte < kept.bytes ? await chunkAt(tx, of, query.fromByte) : undefined;
      return { booking, newest, log: { attempt: asked.attempt, pool: asked.pool, over, kept }, chunk };
    });
  }

  async #stored(chunk: LogChunk, { fromByte, maxBytes }: LogQuery): Promise<Uint8Array | undefined> {
    const bytes = await readChunk(this.#ports.store, chunk);
    const from = fromByte - chunk.fromByte;
    return bytes?.subarray(from, from + maxBytes);
  }

  async #live(
    booking: Booking,
    attempt: number,
    pool: string,
    { fromByte, maxBytes }: LogQuery,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const key = attemptKey(booking.bookingId, attempt);
    const ask = async () => {
      const provider = await this.#ports.providers.of(booking.tenant, pool);
      if (!provider.capabilities.logs) return new Uint8Array(0);
      // Not by the caller's own signal: others may wait for the same answer.
      return provider.logs(key, fromByte, maxBytes, AbortSignal.timeout(LOG_TIMEOUT_MS));
    };
    const name = `${key} ${fromByte} ${maxBytes}`;
    const asked = this.#asked.get(name) ?? ask().finally(() => this.#asked.delete(name));
    this.#asked.set(name, asked);
    return orAborted(asked, signal);
  }
}

function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const left = () => reject(new OperatingError('aborted', 'safe', 'reading a log'));
    signal.addEventListener('abort', left, { once: true });
    // Also where nobody waits any more: its failure must not be one that nobody handles.
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', left));
    if (signal.aborted) left();
  });
}

interface AttemptRow {
  readonly attempt: number;
  readonly pool: string;
  readonly ended_at: Date | null;
}

async function attemptsOf(
  tx: Tx,
  jobId: string,
  attempt: number | undefined,
): Promise<{ readonly newest: number | null; readonly asked: AttemptRow | undefined }> {
  const rows = await tx.query<AttemptRow>(
    `select attempt, pool, ended_at from attempts where booking_id = $1
     and (attempt = $2 or attempt = (select max(attempt) from attempts where booking_id = $1)) order by attempt desc`,
    [jobId, attempt ?? null],
  );
  const asked = attempt === undefined ? rows[0] : rows.find((row) => row.attempt === attempt);
  return { newest: rows[0]?.attempt ?? null, asked };
}

function isAtProvider({ state }: Booking): boolean {
  return (
    state.state === 'confirming' ||
    state.state === 'applied' ||
    state.state === 'draining' ||
    state.state === 'releasing'
  );
}

/** Counts lines from the end of a text that is given back to front. */
class LinesBack {
  #left: number;
  #end: number;
  /** Where what was looked at begins, or, once `take` said so, where the lines do. */
  at: number;

  constructor(lines: number, end: number) {
    this.#left = lines;
    this.#end = end;
    this.at = end;
  }

  /** True: the lines begin in it. */
  take(bytes: Buffer): boolean {
    for (let i = bytes.length - 1; i >= 0; i--) {
      // The line break at the very end ends the last line.
      if (bytes[i] !== 0x0a || this.at - bytes.length + i + 1 === this.#end) continue;
      if (--this.#left > 0) continue;
      this.at = this.at - bytes.length + i + 1;
      return true;
    }
    this.at -= bytes.length;
    return false;
  }
}
