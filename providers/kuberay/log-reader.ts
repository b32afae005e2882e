import type { Clock } from '../../platform/clock.ts';
import { ProviderError } from '../provider.ts';
import type { Dashboards } from './dashboard.ts';
import { isOver, type RayJobObject } from './ray-job.ts';

/** Ray has no ranges: a log is sent whole each time. So what was read is kept for a moment, in which a reader asks for its next pieces. */
const KEPT_MS = 2_000;
/** Of all that a pool keeps at once; of what is more the oldest are sent anew for each piece. */
const KEPT_BYTES = 128 * 1024 * 1024;

interface Kept {
  readonly bytes: Buffer;
  readonly readMs: number;
  /** Ends its being kept. */
  readonly end: AbortController;
}

/** Logs of jobs, read piece by piece for as long as their clusters are kept. */
export class LogReader {
  readonly #dashboards: Dashboards;
  readonly #clock: Clock;
  readonly #kept = new Map<string, Kept>();
  /** Of all logs together. */
  keptBytes = 0;

  constructor(dashboards: Dashboards, clock: Clock) {
    this.#dashboards = dashboards;
    this.#clock = clock;
  }

  /** At most `maxBytes` from `fromByte`; empty where there is no more now. Throws ProviderError `not_found` where the log went with its cluster. */
  async read(
    namespace: string,
    job: RayJobObject,
    fromByte: number,
    maxBytes: number,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const id = `${job.metadata.uid}`;
    const kept = this.#kept.get(id);
    const isFresh = kept !== undefined && this.#clock.now() - kept.readMs < KEPT_MS;
    // At its end there may be more by now.
    if (isFresh && fromByte + maxBytes <= kept.bytes.length) return kept.bytes.subarray(fromByte, fromByte + maxBytes);
    const bytes = await this.#dashboards.log(namespace, job, signal);
    if (bytes === undefined) {
      if (!isOver(job.status ?? {})) return new Uint8Array();
      throw new ProviderError('not_found', `the log of ${job.metadata.name} went with its cluster`);
    }
    this.#keep(id, bytes);
    return bytes.subarray(fromByte, fromByte + maxBytes);
  }

  close(): void {
    for (const id of [...this.#kept.keys()]) this.#forget(id);
  }

  /** For its time, and no longer: whoever comes later has it sent again anyway. */
  #keep(id: string, bytes: Buffer): void {
    this.#forget(id);
    const end = new AbortController();
    this.#kept.set(id, { bytes, readMs: this.#clock.now(), end });
    this.keptBytes += bytes.length;
    for (const oldest of this.#kept.keys()) {
      if (this.keptBytes <= KEPT_BYTES) break;
      this.#forget(oldest);
    }
    void this.#clock.sleep(KEPT_MS, end.signal).then(() => {
      if (!end.signal.aborted) this.#forget(id);
    });
  }

  #forget(id: string): void {
    const kept = this.#kept.get(id);
    if (kept === undefined) return;
    this.#kept.delete(id);
    this.keptBytes -= kept.bytes.length;
    kept.end.abort();
  }
}
