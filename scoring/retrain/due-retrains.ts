import { randomBytes } from 'node:crypto';
import { durationMs } from '../../core/duration.ts';
import { RefusedInput } from '../../core/refusal.ts';
import { nextMoment } from '../../pools/cron.ts';
import { ENGINE_ACTOR, type ScoringContext } from '../context.ts';
import type { ModelDocument } from '../registry/model-document.ts';
import { requestRetrain } from './request-retrain.ts';

/** A model whose last retrain by age failed is tried again after this. */
const AGAIN_AFTER_MS = 24 * 3_600_000;
/** Models raised in one look. */
const MAX_RAISED = 100;

export interface Timed {
  readonly tenant: string;
  readonly model: string;
  readonly retrain_when: NonNullable<ModelDocument['retrainWhen']>;
  readonly changed_at: Date;
  /** Of its versions but those that a failed retrain never brought. */
  readonly newest_at: Date | null;
  readonly asked_at: Date | null;
  readonly scheduled_at: Date | null;
  readonly is_open: boolean;
}

/** Asks for the retrains that are due by age or schedule, each in a transaction of its own. One that is open already is left alone. */
export async function raiseDueRetrains(ctx: ScoringContext): Promise<void> {
  const nowMs = ctx.clock.now();
  const models = await ctx.db.asEngine((tx) =>
    tx.query<Timed>(
      `select m.tenant, m.model, m.retrain_when, m.updated_at as changed_at,
         (select max(v.created_at) from model_versions v where v.tenant = m.tenant and v.model = m.model and v.retired_at is null
            and not exists (select 1 from retrain_requests r where r.tenant = v.tenant and r.version = v.version and r.state = 'failed')) as newest_at,
         (select max(r.created_at) from retrain_requests r where r.tenant = m.tenant and r.model = m.model) as asked_at,
         (select max(r.created_at) from retrain_requests r where r.tenant = m.tenant and r.model = m.model and r.cause = 'schedule') as scheduled_at,
         exists (select 1 from retrain_requests r where r.tenant = m.tenant and r.model = m.model and r.state in ('open', 'booked')) as is_open
       from models m where m.retrain_when is not null and m.retrain is not null order by m.tenant, m.model`,
    ),
  );
  const due = models.flatMap((model) => {
    const cause = dueCause(model, nowMs);
    return cause === undefined ? [] : [{ model, cause }];
  });
  for (const { model, cause } of due.slice(0, MAX_RAISED)) await raise(ctx, model, cause, nowMs);
}

/** Why a model is to be retrained now. Pure. */
export function dueCause(model: Timed, nowMs: number): 'schedule' | 'stale' | undefined {
  if (model.is_open || model.newest_at === null) return undefined;
  const { schedule, staleAfter } = model.retrain_when;
  if (schedule !== undefined) {
    const since = Math.max(model.changed_at.getTime(), model.scheduled_at?.getTime() ?? 0);
    const next = nextMoment(schedule, since);
    if (next !== undefined && next <= nowMs) return 'schedule';
  }
  const staleMs = staleAfter === undefined ? undefined : durationMs(staleAfter);
  if (staleMs === undefined || nowMs - model.newest_at.getTime() < staleMs) return undefined;
  const asked = model.asked_at?.getTime() ?? Number.NEGATIVE_INFINITY;
  return nowMs - asked < Math.min(staleMs, AGAIN_AFTER_MS) ? undefined : 'stale';
}

async function raise(
  ctx: ScoringContext,
  { tenant, model }: Timed,
  cause: 'schedule' | 'stale',
  nowMs: number,
): Promise<void> {
  const by = { tenant, actor: ENGINE_ACTOR, traceId: randomBytes(16).toString('hex'), nowMs };
  try {
    await ctx.db.asLeader(ctx.epoch, (tx) => requestRetrain(tx, ctx.clock, by, model, cause));
  } catch (error) {
    if (!(error instanceof RefusedInput)) throw error;
    ctx.log.warn({ tenant, model, cause, error: error.message }, 'a retrain that is due cannot be asked for');
  }
}
