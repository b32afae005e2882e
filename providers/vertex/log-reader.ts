import type { LogSource } from '../cloud/log-tails.ts';
import { type ProviderClock, ProviderError } from '../provider.ts';
import type { Clients } from './clients.ts';
import { type CustomJobs, isLive } from './custom-jobs.ts';
import { httpErrorOf } from './errors.ts';
import type { CustomJob } from './wire.ts';

/** Cloud Logging lets a project read 60 times a minute, whoever asks. */
const LOOK_EVERY_MS = 5_000;
/** A line is told once nothing that is so much older can arrive any more. */
const SETTLE_MS = 10_000;
/** What arrives later than this after its own time is not looked for again. */
const OVERLAP_MS = 60_000;
const PAGE = 500;

interface LogEntry {
  readonly insertId?: string;
  readonly timestamp?: string;
  readonly textPayload?: string;
  readonly jsonPayload?: { readonly message?: unknown };
  readonly resource?: { readonly labels?: { readonly task_name?: string } };
}

interface Line {
  readonly atMs: number;
  readonly seenAtMs: number;
  readonly text: string;
}

/** Where Logging is asked for more. */
interface Place {
  readonly filter: string;
  readonly token: string;
}

/**
 * A job's log as bytes: what its containers wrote, each entry of Cloud Logging a line, in the order of their times; those of a job with several nodes with
 * `(rank N) ` before them. What Vertex AI itself says of the job is left out.
 */
export class JobLog implements LogSource {
  readonly #clients: Clients;
  readonly #jobs: CustomJobs;
  readonly #clock: ProviderClock;
  readonly #project: string;
  readonly #job: CustomJob;
  readonly #isGang: boolean;
  #ended: boolean;
  #place: Place | undefined;
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  #held: Line[] = [];
  #newestMs = Number.NEGATIVE_INFINITY;
  /** Seen, and young enough to be seen again: by their ids, with their times. */
  readonly #seen = new Map<string, number>();

  constructor(clients: Clients, jobs: CustomJobs, clock: ProviderClock, project: string, job: CustomJob) {
    this.#clients = clients;
    this.#jobs = jobs;
    this.#clock = clock;
    this.#project = project;
    this.#job = job;
    this.#isGang = (job.jobSpec?.workerPoolSpecs ?? []).length > 1;
    this.#ended = !isLive(job);
  }

  async more(signal: AbortSignal): Promise<Buffer | undefined> {
    if (this.#place === undefined) {
      const nowMs = this.#clock.now();
      const wasEnded = this.#ended;
      this.#ended ||= !(await this.#jobs.live(signal)).has(this.#job.name);
      // What was written until its end is read once more, at once.
      if (this.#ended === wasEnded && nowMs - this.#lookedAtMs < LOOK_EVERY_MS) return undefined;
      this.#lookedAtMs = nowMs;
      this.#place = { filter: this.#filter(), token: '' };
    }
    await this.#page(this.#place, signal);
    return Buffer.from(this.#settle().join(''));
  }

  #filter(): string {
    const own = `resource.type="ml_job" AND resource.labels.job_id="${this.#job.name.split('/').at(-1)}"`;
    const filter = `${own} AND resource.labels.task_name=~"^workerpool"`;
    if (this.#newestMs === Number.NEGATIVE_INFINITY) return filter;
    return `${filter} AND timestamp>="${new Date(this.#newestMs - OVERLAP_MS).toISOString()}"`;
  }

  async #page({ filter, token }: Place, signal: AbortSignal): Promise<void> {
    const doing = `reading the log of ${this.#job.displayName}`;
    const asked = {
      resourceNames: [`projects/${this.#project}`],
      filter,
      orderBy: 'timestamp asc',
      pageSize: PAGE,
      ...(token === '' ? {} : { pageToken: token }),
    };
    const reply = await this.#clients.logging({
      doing,
      signal,
      method: 'POST',
      path: '/v2/entries:list',
      type: 'application/json',
      body: Buffer.from(JSON.stringify(asked)),
    });
    if (reply.status !== 200) throw httpErrorOf(reply.status, reply.body, doing, reply.headers['retry-after']);
    const { entries = [], nextPageToken = '' } = pageIn(reply.body, doing);
    this.#place = nextPageToken === '' ? undefined : { filter, token: nextPageToken };
    for (const entry of entries) this.#hold(entry);
    this.#held.sort((a, b) => a.atMs - b.atMs);
    for (const [id, atMs] of this.#seen) if (atMs < this.#newestMs - OVERLAP_MS) this.#seen.delete(id);
  }

  #hold({ insertId: id = '', timestamp = '', textPayload, jsonPayload, resource }: LogEntry): void {
    const atMs = Date.parse(timestamp);
    if (this.#seen.has(id) || Number.isNaN(atMs)) return;
    this.#seen.set(id, atMs);
    const message = textPayload ?? String(jsonPayload?.message ?? '');
    const rank = this.#isGang ? `(rank ${rankIn(resource?.labels?.task_name ?? '')}) ` : '';
    // Of some agents an entry has its line end, of others not.
    const text = `${rank}${message.replace(/\n$/, '')}\n`;
    this.#held.push({ atMs, seenAtMs: this.#clock.now(), text });
    this.#newestMs = Math.max(this.#newestMs, atMs);
  }

  /** Takes the lines that may be told. By our own clock only how long one has been here. */
  #settle(): readonly string[] {
    const nowMs = this.#clock.now();
    const isReady = ({ atMs, seenAtMs }: Line) =>
      this.#ended || atMs <= this.#newestMs - SETTLE_MS || nowMs - seenAtMs >= SETTLE_MS;
    const waits = this.#held.findIndex((line) => !isReady(line));
    const lines = this.#held.splice(0, waits === -1 ? this.#held.length : waits);
    return lines.map(({ text }) => text);
  }
}

interface Page {
  readonly entries?: readonly LogEntry[];
  readonly nextPageToken?: string;
}

function pageIn(body: Uint8Array, doing: string): Page {
  try {
    return JSON.parse(Buffer.from(body).toString('utf8')) as Page;
  } catch {
    throw new ProviderError('transient', `${doing}: the reply is no JSON`);
  }
}

/** `workerpool0-0` is the chief, `workerpool1-0` the first of the workers. */
function rankIn(task: string): number {
  const [, pool = '0', index = '0'] = /^workerpool(\d+)-(\d+)/.exec(task) ?? [];
  return Number(pool) === 0 ? 0 : Number(index) + 1;
}
