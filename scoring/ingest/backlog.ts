import type { Clock } from '../../platform/clock.ts';
import type { BacklogLimits } from '../../platform/config-doors.ts';
import type { Appended, EventLog } from '../../platform/event-log.ts';
import type { Metrics } from '../../platform/metrics.ts';
import type { Database } from '../../platform/postgres.ts';
import type { ScoringLog } from '../context.ts';
import { BacklogMeter, type BacklogReason, type BacklogRefusal, type BacklogState } from './backlog-meter.ts';
import { loadPositions, START } from './positions.sql.ts';
import { REPORTS_TOPIC } from './report-log.ts';

/** What a door for reports asks before it takes some, and tells of those it took. */
export interface Backlog {
  /** undefined: more may come. */
  refusal(): BacklogRefusal | undefined;
  state(): BacklogState;
  appended(bytes: number): void;
  /** Messages that are read before this one. */
  before(at: Appended): number;
}

/** More reports wait than may: nothing of the next ones was taken. */
export class BacklogFull extends Error {
  override name = 'BacklogFull';
  readonly refusal: BacklogRefusal;

  constructor(refusal: BacklogRefusal) {
    super(`reports wait to be read beyond the limit of ${refusal.reason}`);
    this.refusal = refusal;
  }
}

export interface BacklogMetrics {
  backlog(state: BacklogState): void;
  refused(reason: BacklogReason): void;
}

export function backlogMetrics(metrics: Metrics): BacklogMetrics {
  const messages = metrics.gauge('merit_ingest_backlog_messages', 'Messages of reports that were not read yet', {});
  const bytes = metrics.gauge('merit_ingest_backlog_bytes', 'Their bytes, by the mean size of those taken here', {});
  const age = metrics.gauge('merit_ingest_backlog_age_seconds', 'Since the oldest of them was first seen', {});
  const drained = metrics.gauge('merit_ingest_drained_per_second', 'Messages of reports read a second, lately', {});
  const refused = metrics.counter(
    'merit_ingest_refused_total',
    'Requests with reports sent away, by the limit reached',
    {
      reason: ['messages', 'bytes', 'age'],
    },
  );
  return {
    backlog: (state) => {
      messages({}, state.messages);
      bytes({}, state.bytes);
      age({}, state.ageMs / 1000);
      drained({}, state.drainedPerSecond);
    },
    refused: (reason) => refused({ reason }),
  };
}

/** How often it is looked; between two looks the door counts what it takes itself. */
export const LOOK_MS = 1_000;

export interface BacklogDeps {
  readonly db: Database;
  readonly eventLog: Pick<EventLog, 'partitions' | 'end'>;
  readonly clock: Clock;
  readonly limits: BacklogLimits;
  readonly metrics: BacklogMetrics;
  readonly log: ScoringLog;
}

/** Looks at the log and at the consumer's positions, whichever process reads, so that a door may ask without waiting. */
export class BacklogWatch implements Backlog {
  readonly #deps: BacklogDeps;
  readonly #meter: BacklogMeter;

  constructor(deps: BacklogDeps) {
    this.#deps = deps;
    this.#meter = new BacklogMeter(deps.limits);
  }

  /** Until `signal`. Where a look fails, the last one stands: an append then tells what is wrong. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    let failing = false;
    while (!signal.aborted) {
      try {
        await this.look();
        failing = false;
      } catch (error) {
        if (!failing && !signal.aborted)
          log.warn({ error: String(error) }, 'the backlog of reports cannot be looked at');
        failing = true;
      }
      await clock.sleep(LOOK_MS, signal);
    }
  }

  async look(): Promise<void> {
    const { db, eventLog, clock, metrics } = this.#deps;
    const positions = await db.asEngine((tx) => loadPositions(tx, REPORTS_TOPIC));
    const looks = [];
    for (const partition of await eventLog.partitions(REPORTS_TOPIC)) {
      const { nextOffset, firstOffset } = await eventLog.end(REPORTS_TOPIC, partition);
      const { offset } = positions.get(partition) ?? START;
      // What retention took is not waited for.
      looks.push({ partition, nextOffset, readTo: offset > firstOffset ? offset : firstOffset });
    }
    const nowMs = clock.now();
    this.#meter.look(looks, nowMs);
    metrics.backlog(this.#meter.state(nowMs));
  }

  refusal(): BacklogRefusal | undefined {
    const refusal = this.#meter.refusal(this.#deps.clock.now());
    if (refusal !== undefined) this.#deps.metrics.refused(refusal.reason);
    return refusal;
  }

  state(): BacklogState {
    return this.#meter.state(this.#deps.clock.now());
  }

  appended(bytes: number): void {
    this.#meter.appended(bytes);
  }

  before({ partition, offset }: Appended): number {
    return this.#meter.before(partition, offset);
  }
}
