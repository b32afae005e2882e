import { OperatingError } from '../../core/operating-error.ts';
import { isDatabaseAway } from '../../platform/postgres.ts';
import { type ConsumerContext, newId } from '../context.ts';
import { Consumer, type ConsumerOptions, type Failure } from './consumer.ts';
import { MEMBER_LEASE_MS, renewMember } from './ownership.sql.ts';
import { LogAway } from './partition-feed.ts';
import { REPORTS_TOPIC } from './report-log.ts';

const RETRY_MS = 200;
const AWAY_RETRY_MS = 1_000;
/** The longest sleep: retries, idle partitions, other readers and candidates registered meanwhile are looked at this often. */
const IDLE_WAIT_MS = 1_000;
/** A lease is renewed so often in its time. */
const RENEWALS_PER_LEASE = 4;

/**
 * Reads the partitions of the report log that are this process's share and keeps scores and decisions, until `signal`. Any number of
 * processes may run it. Everything it knows is rebuilt from Postgres when it starts, and when a partition comes to it.
 */
export async function runConsumer(
  ctx: ConsumerContext,
  signal: AbortSignal,
  options: ConsumerOptions = {},
): Promise<void> {
  const own = { ...options, member: options.member ?? newId(ctx.clock) };
  const failures = new Map<number, Failure>();
  const stopRenewing = renewing(ctx, own);
  let consumer = new Consumer(ctx, own, failures);
  try {
    while (!signal.aborted) {
      try {
        const progressed = await consumer.step(signal);
        if (!progressed) await ctx.eventLog.wait(REPORTS_TOPIC, IDLE_WAIT_MS, signal);
      } catch (error) {
        const away = isDatabaseAway(error) || error instanceof OperatingError || error instanceof LogAway;
        ctx.log[away ? 'warn' : 'error']({ error: String(error) }, 'the report consumer tries again');
        // What is in memory may be ahead of or behind what is stored: start again from Postgres.
        if (!(error instanceof LogAway)) consumer = new Consumer(ctx, own, failures);
        await ctx.clock.sleep(away ? AWAY_RETRY_MS : RETRY_MS, signal);
      }
    }
  } finally {
    stopRenewing();
    // Others need not wait for the lease to run out.
    await consumer.leave().catch(() => {});
  }
}

/** A step may take longer than the lease: that this process lives is said beside it. */
function renewing(
  ctx: ConsumerContext,
  { member, leaseMs = MEMBER_LEASE_MS }: ConsumerOptions & { readonly member: string },
): () => void {
  const who = { topic: REPORTS_TOPIC, member, leaseMs };
  let isUnderWay = false;
  const timer = setInterval(() => {
    if (isUnderWay) return;
    isUnderWay = true;
    ctx.db
      .asEngine((tx) => renewMember(tx, who))
      .catch(() => {})
      .finally(() => {
        isUnderWay = false;
      });
  }, leaseMs / RENEWALS_PER_LEASE);
  return () => clearInterval(timer);
}
