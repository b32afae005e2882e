import { APPROVAL_ACTIONS, type ApprovalAction } from '../../core/approval.ts';
import { OperatingError } from '../../core/operating-error.ts';
import type { Clock } from '../../platform/clock.ts';
import { type Database, isDatabaseAway } from '../../platform/postgres.ts';
import type { Log } from '../apply/context.ts';

export interface WaitingSignatures {
  readonly count: number;
  /** Of the one that waits longest; 0: none waits. */
  readonly oldestSeconds: number;
}

export interface WaitingMetrics {
  waiting(action: ApprovalAction, now: WaitingSignatures): void;
}

/** Between two looks at what waits for people. */
const WATCH_MS = 30_000;

/** Run by the engine's leader: tells how much waits for signatures, of all tenants together. */
export async function watchProposals(
  {
    db,
    clock,
    log,
    metrics,
  }: { readonly db: Database; readonly clock: Clock; readonly log: Log; readonly metrics: WaitingMetrics },
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      const now = await waitingNow(db, clock.now());
      for (const action of APPROVAL_ACTIONS) metrics.waiting(action, now.get(action) ?? { count: 0, oldestSeconds: 0 });
    } catch (error) {
      if (!isDatabaseAway(error) && !(error instanceof OperatingError)) throw error;
      log.warn({ error: String(error) }, 'what waits for signatures could not be looked at; it is tried again');
    }
    await clock.sleep(WATCH_MS, signal);
  }
}

async function waitingNow(db: Database, nowMs: number): Promise<ReadonlyMap<ApprovalAction, WaitingSignatures>> {
  const rows = await db.asEngine((tx) =>
    tx.query<{ action: ApprovalAction; count: bigint; oldest: Date }>(
      "select action, count(*) as count, min(created_at) as oldest from proposals where state = 'open' and expires_at > $1 group by action",
      [new Date(nowMs)],
    ),
  );
  return new Map(
    rows.map(({ action, count, oldest }) => [
      action,
      { count: Number(count), oldestSeconds: Math.max(0, (nowMs - oldest.getTime()) / 1000) },
    ]),
  );
}
