import type { Clock } from '../../platform/clock.ts';
import type { EventLog, NewMessage } from '../../platform/event-log.ts';
import { type Database, StaleLeader } from '../../platform/postgres.ts';
import { eventMessages, factMessage } from './cloud-event.ts';
import { drainOnce, outboxState } from './outbox.ts';
import { publishTrailOnce, trailState } from './trail.ts';

/** How often it is looked when there was nothing to publish. */
export const IDLE_MS = 500;
/** After a failure: doubles from the first to the second. Nothing is lost meanwhile. */
export const RETRY_MIN_MS = 200;
export const RETRY_MAX_MS = 15_000;
/** How often it is told what waits. */
const TELL_EVERY_MS = 10_000;

export interface PublisherWatch {
  published(topic: string): void;
  failed(error: unknown, retryInMs: number): void;
  /** Facts and events that wait, and how old the oldest of them is. */
  waiting(count: number, oldestSeconds: number): void;
}

export interface PublisherDeps {
  readonly db: Database;
  readonly epoch: bigint;
  readonly clock: Clock;
  readonly eventLog: Pick<EventLog, 'append'>;
  /** Names this installation in the source of each event. */
  readonly installation: string;
  /** Whose facts and events; undefined: everybody's. */
  readonly tenants: readonly string[] | undefined;
  readonly watch: PublisherWatch;
}

/**
 * Publishes the outbox and the audit trail through the event log, until `signal`: at least once, in order by key. Failures are retried with
 * back-off, each of the two by itself; only StaleLeader ends it (it is thrown: another leads).
 */
export async function runPublisher(deps: PublisherDeps, signal: AbortSignal): Promise<void> {
  const { db, epoch, installation, tenants, watch } = deps;
  const append = async (message: NewMessage) => {
    await deps.eventLog.append(message);
    watch.published(message.topic);
  };
  const facts = () => drainOnce(db, epoch, (fact) => append(factMessage(installation, fact)), tenants);
  const events = () =>
    publishTrailOnce(
      db,
      epoch,
      async (event) => {
        for (const message of eventMessages(installation, event)) await append(message);
      },
      tenants,
    );
  await Promise.all([
    again(deps, signal, async () => (await facts()) > 0),
    again(deps, signal, async () => (await events()) > 0),
    tellWaiting(deps, signal),
  ]);
}

/** `work` says whether there may be more at once. */
async function again(
  { clock, watch }: PublisherDeps,
  signal: AbortSignal,
  work: () => Promise<boolean>,
): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    let pauseMs = IDLE_MS;
    try {
      if (await work()) pauseMs = 0;
      failures = 0;
    } catch (error) {
      if (error instanceof StaleLeader) throw error;
      pauseMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** Math.min(failures++, 10));
      watch.failed(error, pauseMs);
    }
    if (pauseMs > 0) await clock.sleep(pauseMs, signal);
  }
}

async function tellWaiting({ db, clock, tenants, watch }: PublisherDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const [facts, events] = await db.asEngine(async (tx) => [await outboxState(tx, tenants), await trailState(tx)]);
      const oldestMs = Math.min(
        facts?.oldestMs ?? Number.POSITIVE_INFINITY,
        events?.oldestMs ?? Number.POSITIVE_INFINITY,
      );
      const seconds = Number.isFinite(oldestMs) ? Math.max(0, (clock.now() - oldestMs) / 1000) : 0;
      watch.waiting((facts?.waiting ?? 0) + (events?.waiting ?? 0), seconds);
    } catch {
      // What fails is told by the publishing itself.
    }
    await clock.sleep(TELL_EVERY_MS, signal);
  }
}
