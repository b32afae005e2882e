import type { OutputLogEvent } from '@aws-sdk/client-cloudwatch-logs';
import type { Clock } from '../../platform/clock.ts';
import type { LogSource } from '../cloud/log-tails.ts';
import type { Clients } from './clients.ts';
import { isNotThere } from './errors.ts';
import { isLive, type TrainingJob, type TrainingJobs } from './training-jobs.ts';

const LOG_GROUP = '/aws/sagemaker/TrainingJobs';
/** A node writes its first line, and a stream of its own, within this; a spot machine that took another's place too. */
const LOOK_FOR_STREAMS_MS = 15_000;
/** Lines of several nodes come in the order of their times once all that is older by this has arrived. */
const SETTLE_MS = 10_000;
const STREAMS_LIMIT = 5_000;

interface Stream {
  readonly name: string;
  readonly rank: number;
  token: string | undefined;
  /** Read, and not yet part of the log. */
  readonly held: OutputLogEvent[];
}

/**
 * A job's log as bytes. CloudWatch keeps events, each a line, in a stream a node: the log is their messages with a line end each, those of a job with
 * several nodes by their time and with `(rank N) ` before them.
 */
export class JobLog implements LogSource {
  #settled = Buffer.alloc(0);
  readonly #clients: Clients;
  readonly #jobs: TrainingJobs;
  readonly #clock: Clock;
  readonly #key: string;
  readonly #nodes: number;
  #ended: boolean;
  #streams: Stream[] = [];
  #lookedAtMs = Number.NEGATIVE_INFINITY;

  constructor(clients: Clients, jobs: TrainingJobs, clock: Clock, key: string, job: TrainingJob) {
    this.#clients = clients;
    this.#jobs = jobs;
    this.#clock = clock;
    this.#key = key;
    this.#nodes = job.ResourceConfig?.InstanceCount ?? 1;
    this.#ended = !isLive(job.TrainingJobStatus);
  }

  async more(signal: AbortSignal): Promise<Buffer | undefined> {
    const isMore = await this.#more(signal);
    const told = this.#settled;
    this.#settled = Buffer.alloc(0);
    return isMore ? told : undefined;
  }

  /** Reads on; false: nothing came that was not there before. */
  async #more(signal: AbortSignal): Promise<boolean> {
    await this.#lookForStreams(signal);
    const isNew = await this.#pages((stream) => stream.held.length === 0, signal);
    if (this.#settle() || isNew) return true;
    // What is held waits for something that is later.
    if (await this.#pages((stream) => stream.held.length > 0, signal)) return true;
    if (this.#nodes === 1 || this.#ended) return false;
    const job = await this.#jobs.find(this.#key, signal);
    this.#ended = job === undefined || !isLive(job.TrainingJobStatus);
    // What was written until then is read before the last lines are told.
    return this.#ended;
  }

  async #pages(which: (stream: Stream) => boolean, signal: AbortSignal): Promise<boolean> {
    let isNew = false;
    for (const stream of this.#streams.filter(which)) isNew = (await this.#page(stream, signal)) || isNew;
    return isNew;
  }

  async #lookForStreams(signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.now();
    if (nowMs - this.#lookedAtMs < LOOK_FOR_STREAMS_MS && this.#streams.length >= this.#nodes) return;
    const names: { readonly name: string; readonly createdAtMs: number }[] = [];
    let token: string | undefined;
    do {
      const asked = {
        logGroupName: LOG_GROUP,
        logStreamNamePrefix: `${this.#key}/`,
        ...(token === undefined ? {} : { nextToken: token }),
      };
      const told = await this.#clients.askLogs(
        { doing: `looking for the log of ${this.#key}`, signal },
        (sdk, client, options) => client.send(new sdk.DescribeLogStreamsCommand(asked), options),
        isNotThere,
      );
      for (const { logStreamName: name, creationTime } of told?.logStreams ?? [])
        if (name !== undefined) names.push({ name, createdAtMs: creationTime ?? 0 });
      token = told?.nextToken;
    } while (token !== undefined && names.length < STREAMS_LIMIT);
    this.#lookedAtMs = nowMs;
    // Those of machines that took the place of others follow them.
    for (const { name } of names.sort((a, b) => a.createdAtMs - b.createdAtMs || (a.name < b.name ? -1 : 1)))
      if (!this.#streams.some((stream) => stream.name === name))
        this.#streams.push({ name, rank: rankIn(name), token: undefined, held: [] });
  }

  /** One page of a stream; false: there is no more now. */
  async #page(stream: Stream, signal: AbortSignal): Promise<boolean> {
    const asked = {
      logGroupName: LOG_GROUP,
      logStreamName: stream.name,
      startFromHead: true,
      ...(stream.token === undefined ? {} : { nextToken: stream.token }),
    };
    const told = await this.#clients.askLogs(
      { doing: `reading the log of ${this.#key}`, signal },
      (sdk, client, options) => client.send(new sdk.GetLogEventsCommand(asked), options),
      isNotThere,
    );
    if (told === undefined) return false;
    const { events = [], nextForwardToken } = told;
    const isEnd = events.length === 0 && nextForwardToken === stream.token;
    stream.held.push(...events);
    stream.token = nextForwardToken ?? stream.token;
    // A page may be empty before the end, which is where the token stays as it is.
    return !isEnd && (events.length > 0 || nextForwardToken !== undefined);
  }

  /** Moves lines into the log; false: there are none that may be told yet. */
  #settle(): boolean {
    const lines: string[] = [];
    const newestMs = Math.max(...this.#streams.flatMap(({ held }) => held.at(-1)?.timestamp ?? []));
    const untilMs = this.#nodes === 1 || this.#ended ? Number.POSITIVE_INFINITY : newestMs - SETTLE_MS;
    for (;;) {
      const next = this.#next();
      if (next === undefined || (next.held[0]?.timestamp ?? 0) > untilMs) break;
      const message = next.held.shift()?.message ?? '';
      lines.push(this.#nodes === 1 ? `${message}\n` : `(rank ${next.rank}) ${message}\n`);
      // What follows in this stream may be older than what the others hold: it is read first.
      if (next.held.length === 0) break;
    }
    this.#settled = Buffer.concat([this.#settled, Buffer.from(lines.join(''))]);
    return lines.length > 0;
  }

  /** The stream whose next line is the oldest; of two the one that was there first. */
  #next(): Stream | undefined {
    return this.#streams
      .filter(({ held }) => held.length > 0)
      .reduce<Stream | undefined>(
        (oldest, one) =>
          oldest === undefined || (one.held[0]?.timestamp ?? 0) < (oldest.held[0]?.timestamp ?? 0) ? one : oldest,
        undefined,
      );
  }
}

/** `<job>/algo-2-1700000000` is the second node's. */
function rankIn(name: string): number {
  return Number(/\/algo-(\d+)-/.exec(name)?.[1] ?? 1) - 1;
}
