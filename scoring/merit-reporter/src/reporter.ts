import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkReport, type EvalReport } from './report.ts';
import { reportKey, shardOf } from './shard.ts';
import { Busy, type Pack, Refused, type Target } from './target.ts';

export interface ReporterOptions {
  /** `http(…)` or `kafka(…)`. */
  readonly to: Target;
  /** Of reports that name none. */
  readonly producer?: string;
  /** The tenant that reports are known under; it decides the shard, and so matters on Kafka. */
  readonly tenant?: string;
  /** A pack is sent at this size, or when its first report has waited for `lingerMs`. */
  readonly packBytes?: number;
  readonly lingerMs?: number;
  /** Held at most, what is under way too; beyond it `send` waits. */
  readonly maxBytes?: number;
  /** Packs under way at a time. */
  readonly concurrency?: number;
  /** W3C traceparent of what is going on, asked when a pack begins; a new trace where it gives none. */
  readonly traceparent?: () => string | undefined;
  /** Told of each try that failed. */
  readonly onRetry?: (error: Error, afterMs: number) => void;
  /** Gets the lines that were not delivered, whole: to keep them elsewhere. They may be sent again in any way. */
  readonly onUndelivered?: (lines: Buffer, error: Error) => void;
}

/** Reports that the target refused, or that were given up when the reporter closed. */
export class UndeliveredReports extends Error {
  override name = 'UndeliveredReports';
  readonly count: number;

  constructor(count: number, cause: unknown) {
    super(`${count} reports were not delivered: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    this.count = count;
  }
}

/** Merit's log packs in messages of so much; Kafka is slow by the message, not by the byte. */
const PACK_BYTES = 128 * 1024;
const MIN_PACK_BYTES = 1024;
const MAX_PACK_BYTES = 256 * 1024;
const LINGER_MS = 500;
const MAX_BYTES = 16 * 1024 * 1024;
const CONCURRENCY = 4;
const CLOSE_TIMEOUT_MS = 30_000;
/** After a failure: doubles from the first to the second, and as much again by chance. */
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 15_000;

interface Lane {
  lines: Buffer[];
  bytes: number;
  traceparent: string;
  timer: NodeJS.Timeout;
}

interface Queued {
  readonly pack: Pack;
  readonly over: () => void;
}

/**
 * Takes reports one by one and delivers them in packs, each until it is durable: a pack that failed is sent again with the same ids, by which Merit
 * knows it. Memory is bounded: `send` waits while as much is held as may be.
 */
export class Reporter {
  readonly #options: ReporterOptions;
  readonly #packBytes: number;
  readonly #maxBytes: number;
  readonly #lanes = new Map<number, Lane>();
  readonly #queue: Queued[] = [];
  /** Packs that wait or are under way. */
  readonly #going = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  #held = 0;
  #working = 0;
  #closed = false;
  #pauseUntilMs = 0;
  #undelivered = 0;
  #lastError: unknown;
  #waiting: (() => void)[] = [];

  constructor(options: ReporterOptions) {
    this.#options = options;
    this.#packBytes = Math.min(MAX_PACK_BYTES, Math.max(MIN_PACK_BYTES, options.packBytes ?? PACK_BYTES));
    this.#maxBytes = options.maxBytes ?? MAX_BYTES;
  }

  /** Bytes that are held, those under way among them. */
  get held(): number {
    return this.#held;
  }

  /** Resolves to the report's id once it is held; waits while there is no room. Throws RefusedReport where Merit would set it aside. */
  async send(report: EvalReport): Promise<string> {
    const { reportId, producer, line } = checkReport(report, this.#options.producer);
    while (!this.#closed && this.#held > 0 && this.#held + line.length > this.#maxBytes) {
      this.#sealAll();
      await this.#change();
    }
    if (this.#closed) throw new Error('the reporter is closed');
    this.#held += line.length;
    const { to, tenant = 'default' } = this.#options;
    this.#add(to.byShard ? shardOf(reportKey(tenant, producer, reportId)) : -1, line);
    return reportId;
  }

  /** Resolves once all that was taken so far is durable. Throws UndeliveredReports where some of it, or of what came before, was refused. */
  async flush(): Promise<void> {
    this.#sealAll();
    await Promise.all(this.#going);
    this.#throwUndelivered();
  }

  /** Takes no more, delivers what is held, and gives up what is left after `timeoutMs`. Throws UndeliveredReports. */
  async close({ timeoutMs = CLOSE_TIMEOUT_MS }: { readonly timeoutMs?: number } = {}): Promise<void> {
    this.#closed = true;
    this.#wake();
    const timer = setTimeout(() => this.#stop.abort(), timeoutMs);
    try {
      await this.flush();
    } finally {
      clearTimeout(timer);
    }
  }

  #add(number: number, line: Buffer): void {
    const open = this.#lanes.get(number);
    if (open !== undefined && open.bytes + line.length > this.#packBytes) this.#seal(number);
    const lane = this.#lanes.get(number) ?? this.#open(number);
    lane.lines.push(line);
    lane.bytes += line.length;
    if (lane.bytes >= this.#packBytes) this.#seal(number);
  }

  #open(number: number): Lane {
    const timer = setTimeout(() => this.#seal(number), this.#options.lingerMs ?? LINGER_MS);
    const traceparent = this.#options.traceparent?.() ?? newTraceparent();
    const lane = { lines: [], bytes: 0, traceparent, timer };
    this.#lanes.set(number, lane);
    return lane;
  }

  #seal(number: number): void {
    const lane = this.#lanes.get(number);
    if (lane === undefined) return;
    this.#lanes.delete(number);
    clearTimeout(lane.timer);
    const { lines, traceparent } = lane;
    const shard = number < 0 ? null : number;
    const pack = { lines: Buffer.concat(lines), count: lines.length, shard, traceparent };
    const { promise, resolve } = deferred();
    this.#going.add(promise);
    const over = () => {
      this.#going.delete(promise);
      resolve();
    };
    this.#queue.push({ pack, over });
    if (this.#working < (this.#options.concurrency ?? CONCURRENCY)) void this.#work();
  }

  #sealAll(): void {
    for (const number of [...this.#lanes.keys()]) this.#seal(number);
  }

  async #work(): Promise<void> {
    this.#working++;
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      const { pack, over } = next;
      try {
        await this.#deliver(pack);
      } catch (error) {
        this.#undelivered += pack.count;
        this.#lastError = error;
        try {
          this.#options.onUndelivered?.(Buffer.from(pack.lines), error as Error);
        } catch (cause) {
          // It is told by flush and close as what it is; the packs behind it go on.
          this.#lastError = cause;
        }
      }
      this.#held -= pack.lines.length;
      over();
      this.#wake();
    }
    this.#working--;
  }

  /** Until it is durable; throws where it is refused, or the reporter gives up. */
  async #deliver(pack: Pack): Promise<void> {
    const { signal } = this.#stop;
    for (let failures = 0; ; failures++) {
      try {
        signal.throwIfAborted();
        // One that was asked to wait makes all wait: they go to the same place.
        const pauseMs = this.#pauseUntilMs - Date.now();
        if (pauseMs > 0) await sleep(pauseMs, undefined, { signal });
        return await this.#options.to.deliver(pack, signal);
      } catch (error) {
        if (error instanceof Refused || signal.aborted) throw error;
        const afterMs = error instanceof Busy ? spread(error.afterMs) : backOff(failures);
        if (error instanceof Busy) this.#pauseUntilMs = Math.max(this.#pauseUntilMs, Date.now() + afterMs);
        this.#options.onRetry?.(error as Error, afterMs);
        await sleep(afterMs, undefined, { signal }).catch(() => {});
      }
    }
  }

  #throwUndelivered(): void {
    if (this.#undelivered === 0) return;
    const error = new UndeliveredReports(this.#undelivered, this.#lastError);
    this.#undelivered = 0;
    throw error;
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}

/** Promise.withResolvers, which Node 20 lacks. */
function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

function backOff(failures: number): number {
  const ms = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** Math.min(failures, 10));
  return ms + Math.random() * ms;
}

/** Never sooner than asked; many that were sent away at once do not come back at once. */
function spread(ms: number): number {
  return ms + Math.random() * Math.min(1_000, ms / 4);
}

function newTraceparent(): string {
  return `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01`;
}
