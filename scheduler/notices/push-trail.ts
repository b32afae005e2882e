import type { AuditEvent } from '../../core/audit-event.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { beginTrail, publishTrailOnce, trailState } from '../../ledger/outbox/trail.ts';
import type { AgentManager } from '../../peers/agent-manager/client.ts';
import type { Kernel } from '../../peers/kernel/client.ts';
import type { Told } from '../../peers/notice.ts';
import type { ReasoningGraph } from '../../peers/reasoning-graph/client.ts';
import type { Clock } from '../../platform/clock.ts';
import { type Database, StaleLeader } from '../../platform/postgres.ts';
import { loadBooking } from '../apply/booking-store.ts';
import type { Log } from '../apply/context.ts';
import { humanActionOf } from './human-action.ts';
import { explanationOf, noticedBooking, noticeOf } from './notice-of.ts';

export const NOTICE_PEERS = ['agent-manager', 'reasoning-graph', 'kernel'] as const;
export type NoticePeer = (typeof NOTICE_PEERS)[number];
export const NOTICE_OUTCOMES = ['taken', 'refused', 'given_up', 'failed'] as const;

export interface NoticeWatch {
  told(peer: NoticePeer, outcome: (typeof NOTICE_OUTCOMES)[number]): void;
  /** Events of the trail that were not looked at yet for this peer. */
  waiting(peer: NoticePeer, events: number): void;
}

/** How often it is looked when there was nothing to tell. */
const IDLE_MS = 1_000;
/** After a failure: doubles from the first to the second. */
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 30_000;
/** What a peer did not take for so long is passed over, where it would learn nothing of what came after otherwise. */
export const GIVE_UP_AFTER_MS = 24 * 3_600_000;
const TELL_TIMEOUT_MS = 10_000;

export interface NoticeParts {
  readonly db: Database;
  readonly epoch: bigint;
  readonly clock: Clock;
  readonly log: Log;
  readonly watch: NoticeWatch;
}

/** Tells one peer of what the trail tells it; undefined: the event is nothing to it. */
export interface Teller {
  readonly peer: NoticePeer;
  /** A record, of which nothing may be missing: what is not taken is told again for as long as it takes. */
  readonly keepsAll?: boolean;
  tell(event: AuditEvent, signal: AbortSignal): Promise<Told | undefined>;
}

/** What becomes of allocations, for those who run agents on them. */
export function agentNotices(db: Database, manager: AgentManager): Teller {
  return {
    peer: 'agent-manager',
    tell: async (event, signal) => {
      const id = noticedBooking(event);
      if (id === undefined) return undefined;
      const booking = await db.asEngine((tx) => loadBooking(tx, id));
      return booking === undefined
        ? undefined
        : manager.tell(noticeOf(event, id, booking.division, booking.spec), signal);
    },
  };
}

/** Why models took or left their seats, and allocations moved on. */
export function explanations(graph: ReasoningGraph): Teller {
  return {
    peer: 'reasoning-graph',
    tell: async (event, signal) => {
      const one = explanationOf(event);
      return one === undefined ? undefined : graph.explain(one, signal);
    },
  };
}

/** What people did, for whoever governs them. */
export function humanActions(kernel: Kernel): Teller {
  return {
    peer: 'kernel',
    keepsAll: true,
    tell: async (event, signal) => {
      const action = humanActionOf(event);
      return action === undefined ? undefined : kernel.record(action, signal);
    },
  };
}

/**
 * Tells a peer of the audit trail, in its order and at least once, from where it was told last; of what was there before the peer was, nothing. It runs beside
 * the engine: a peer that is away is behind, and holds nothing else up. Ends by `signal`, or throws StaleLeader.
 */
export async function runNotices(parts: NoticeParts, teller: Teller, signal: AbortSignal): Promise<void> {
  const { db, epoch, clock, log, watch } = parts;
  const { peer } = teller;
  let failures = 0;
  let begun = false;
  while (!signal.aborted) {
    let pauseMs = IDLE_MS;
    try {
      if (!begun) await beginTrail(db, epoch, peer);
      begun = true;
      const passed = await publishTrailOnce(db, epoch, inTurn(parts, teller, signal), undefined, peer);
      watch.waiting(peer, (await db.asEngine((tx) => trailState(tx, peer))).waiting);
      if (passed > 0) pauseMs = 0;
      failures = 0;
    } catch (error) {
      // Whatever it is, it must not end the loops that lead beside it.
      if (error instanceof StaleLeader) throw error;
      if (signal.aborted) return;
      pauseMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** Math.min(failures++, 10));
      watch.told(peer, 'failed');
      log.warn({ peer, error: String(error), retryInMs: pauseMs }, 'a peer could not be told; it is told again');
    }
    if (pauseMs > 0) await clock.sleep(pauseMs, signal);
  }
}

/** One after the other, whatever is read together; behind one that was not told nothing is, nor after the end. */
function inTurn({ clock, log, watch }: NoticeParts, { peer, keepsAll = false, tell }: Teller, end: AbortSignal) {
  let last: Promise<unknown> = Promise.resolve();
  let behind: unknown;
  return ({ event }: { readonly event: AuditEvent }): Promise<void> => {
    const mine = last.then(async () => {
      if (behind !== undefined) throw behind;
      end.throwIfAborted();
      try {
        const told = await tell(event, AbortSignal.timeout(TELL_TIMEOUT_MS));
        if (told === undefined) return;
        watch.told(peer, told.kind);
        if (told.kind === 'refused')
          log.error({ peer, event: event.id, code: told.code, detail: told.detail }, 'a peer refuses what it is told');
      } catch (error) {
        const isOld = clock.now() - Date.parse(event.at) > GIVE_UP_AFTER_MS;
        if (!(error instanceof OperatingError) || !isOld || keepsAll) {
          behind = error;
          throw error;
        }
        watch.told(peer, 'given_up');
        log.error(
          { peer, event: event.id, error: error.message },
          'a peer was not told within a day: it is passed over',
        );
      }
    });
    last = mine.catch(() => {});
    return mine;
  };
}
