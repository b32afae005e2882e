import { OperatingError } from '../../core/operating-error.ts';
import { isDatabaseAway } from '../../platform/postgres.ts';
import { ProviderError } from '../../providers/provider.ts';
import type { SagaContext } from '../apply/context.ts';
import { PROVIDER_TIMEOUT_MS } from '../apply/limits.ts';
import { planSweep } from './plan.ts';

/**
 * The reconciler takes no input: at each turn it compares what each provider holds under our tag with what the live bookings
 * own, releases what nobody owns, and gives back pending transfers whose time ran out. (A job that is gone from the provider is found
 * by the booking's own watch.)
 */
export async function runReconciler(ctx: SagaContext, signal: AbortSignal): Promise<void> {
  const suspects = new Map<string, ReadonlySet<string>>();
  while (!signal.aborted) {
    try {
      await sweepOnce(ctx, suspects);
    } catch (error) {
      if (!isDatabaseAway(error) && !(error instanceof OperatingError)) throw error;
      ctx.log.warn({ error: String(error) }, 'the reconciler cannot reach its state; it tries again');
    }
    await ctx.clock.sleep(ctx.sweepEveryMs, signal);
  }
}

/** One turn over all pools. `suspects` carries what looked orphaned from turn to turn. */
export async function sweepOnce(ctx: SagaContext, suspects: Map<string, ReadonlySet<string>>): Promise<void> {
  const nowMs = ctx.clock.now();
  await ctx.desk.expire(nowMs);
  await ctx.desk.forgetReplies(nowMs - ctx.idempotencyRetentionMs);
  for (const { tenant, pool } of await ctx.desk.pools()) {
    const key = `${tenant}/${pool}`;
    try {
      suspects.set(key, await sweepPool(ctx, tenant, pool, suspects.get(key) ?? new Set()));
    } catch (error) {
      if (!(error instanceof ProviderError) && !(error instanceof OperatingError)) throw error;
      ctx.log.warn(
        { pool: key, error: error.message },
        'the provider could not be listed; nothing is reclaimed from it',
      );
    }
  }
}

async function sweepPool(
  ctx: SagaContext,
  tenant: string,
  pool: string,
  before: ReadonlySet<string>,
): Promise<ReadonlySet<string>> {
  const provider = await ctx.providers.of(tenant, pool);
  // The list first, then our own rows: what was submitted between the two is owned by the time it is looked up.
  const listed = await provider.list(ctx.tag, AbortSignal.timeout(PROVIDER_TIMEOUT_MS));
  const keys = listed.map((resource) => resource.key);
  const owned = await ctx.desk.openAttempts({ tenant, pool }, keys);
  const plan = planSweep(listed, owned, before);
  if (plan.halted)
    ctx.log.error(
      { tenant, pool },
      'more than a fifth of the running jobs are missing from the provider’s list: reclaiming is halted',
    );
  for (const orphan of plan.orphans) {
    ctx.log.warn({ tenant, pool, key: orphan }, 'releasing a resource that no booking owns');
    await provider.release(orphan, AbortSignal.timeout(PROVIDER_TIMEOUT_MS));
  }
  return new Set(plan.suspects);
}
