import type { StateName } from '../../core/booking.ts';
import { isEnded } from '../../core/booking.ts';
import type { BookingId } from '../../core/ids.ts';
import { RefusedInput, refusalText } from '../../core/refusal.ts';
import { isDatabaseAway, StaleLeader, type Tx } from '../../platform/postgres.ts';
import { createBooking } from '../../scheduler/apply/create-booking.ts';
import { ENGINE_ACTOR, newId, type ScoringContext } from '../context.ts';
import { raiseDueRetrains } from './due-retrains.ts';
import { retrainSpec } from './retrain-spec.ts';

/** Bookings tried for one request; then it has failed, and a person may ask again. */
export const MAX_RETRAIN_ATTEMPTS = 3;
/** Wait before the second and third booking: twice as long each time. */
export const FIRST_BACKOFF_MS = 60_000;
/** Requests taken up in one round. */
const MAX_ROUND = 100;
const POLL_MS = 1_000;
/** Between two looks at what is due by age or schedule. */
const LOOK_EVERY_MS = 15_000;

interface DueRequest {
  readonly request_id: string;
  readonly tenant: string;
  readonly model: string;
  readonly suite: string;
  readonly version: string;
  readonly cause_event_id: string | null;
  readonly decision_hash: string | null;
  readonly demoted_tick_ms: bigint;
  readonly attempts: number;
  readonly requested_by: string;
  readonly trace_id: string;
  readonly division: string;
  readonly retrain: unknown;
}

/** Books open requests and settles booked ones, until `signal`. Throws StaleLeader. */
export async function runRetrains(ctx: ScoringContext, signal: AbortSignal): Promise<void> {
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  while (!signal.aborted) {
    try {
      if (ctx.clock.now() - lookedAtMs >= LOOK_EVERY_MS) {
        lookedAtMs = ctx.clock.now();
        await raiseDueRetrains(ctx);
      }
      await retrainRound(ctx);
    } catch (error) {
      if (error instanceof StaleLeader) throw error;
      ctx.log[isDatabaseAway(error) ? 'warn' : 'error'](
        { error: String(error) },
        'a round over the retrain requests failed',
      );
    }
    await ctx.clock.sleep(POLL_MS, signal);
  }
}

/** One round: what became of booked requests first, then the open ones that are due. Each in a transaction of its own. */
export async function retrainRound(ctx: ScoringContext): Promise<void> {
  const { booked, due, length } = await ctx.db.asEngine((tx) => loadRound(tx, ctx.clock.now()));
  ctx.metrics.retrainQueue(length);
  for (const request of booked) await ctx.db.asLeader(ctx.epoch, (tx) => settle(tx, ctx, request));
  for (const request of due) await book(ctx, request);
}

interface EndedRequest {
  readonly request_id: string;
  readonly attempts: number;
  readonly booking_id: string;
  readonly state: StateName;
  readonly created_at: Date;
  readonly started_at: Date | null;
  readonly manifest_sha256: string | null;
  readonly data: { readonly reason?: { readonly code: string; readonly text: string; readonly mend: string } };
}

async function loadRound(
  tx: Tx,
  nowMs: number,
): Promise<{ readonly booked: readonly EndedRequest[]; readonly due: readonly DueRequest[]; readonly length: number }> {
  const booked = await tx.query<EndedRequest>(
    `select r.request_id, r.attempts, r.booking_id, b.state, b.data, b.created_at,
       (select min(started_at) from attempts a where a.booking_id = b.booking_id) as started_at,
       (select sha256 from manifests m where m.booking_id = b.booking_id order by attempt desc limit 1) as manifest_sha256
     from retrain_requests r join bookings b using (booking_id)
     where r.state = 'booked' and b.state in ('released', 'rejected', 'infeasible', 'failed', 'expired', 'cancelled', 'revoked')
     order by r.updated_at limit $1`,
    [MAX_ROUND],
  );
  const due = await tx.query<DueRequest>(
    `${REQUEST_QUERY} where r.state = 'open' and r.next_try_ms <= $1 order by r.next_try_ms, r.request_id limit $2`,
    [nowMs, MAX_ROUND],
  );
  const open = await tx.query<{ n: bigint }>(`select count(*) as n from retrain_requests where state = 'open'`);
  return { booked, due, length: Number(open[0]?.n ?? 0n) };
}

const REQUEST_QUERY = `
  select r.request_id, r.tenant, r.model, r.suite, r.version, r.cause_event_id, r.decision_hash, r.demoted_tick_ms, r.attempts, r.requested_by,
         r.trace_id, m.division, m.retrain
  from retrain_requests r join models m using (tenant, model)`;

/** Booking, its audit event, the version's link to it and the request's state: one transaction, so a request books once. */
async function book(ctx: ScoringContext, request: DueRequest): Promise<void> {
  try {
    await ctx.db.asLeader(ctx.epoch, (tx) => bookInside(tx, ctx, request));
  } catch (error) {
    if (!(error instanceof RefusedInput)) throw error;
    const text = error.refusals.map(refusalText).join('; ');
    const failure = {
      code: 'retrain_refused',
      text,
      mend: 'mend the model’s retrain job, then ask for the retrain by hand',
    };
    await ctx.db.asLeader(ctx.epoch, (tx) => fail(tx, request.request_id, failure));
  }
}

async function bookInside(tx: Tx, ctx: ScoringContext, request: DueRequest): Promise<void> {
  const { tenant, version } = request;
  const locked = await tx.query(`select 1 from retrain_requests where request_id = $1 and state = 'open' for update`, [
    request.request_id,
  ]);
  if (locked.length === 0) return;
  const bookingId = newId(ctx.clock) as BookingId;
  const spec = retrainSpec(request.retrain, {
    newVersion: version,
    suite: request.suite,
    bookingId,
    demotedTickMs: Number(request.demoted_tick_ms),
  });
  await createBooking(tx, {
    bookingId,
    tenant,
    division: request.division,
    requester: request.requested_by,
    actor: ENGINE_ACTOR,
    traceId: request.trace_id,
    spec,
    nowMs: ctx.clock.now(),
    ...(request.cause_event_id === null ? {} : { causes: [request.cause_event_id] }),
    ...(request.decision_hash === null ? {} : { evidence: [request.decision_hash] }),
  });
  await tx.execute('update model_versions set booking_id = $3 where tenant = $1 and version = $2', [
    tenant,
    version,
    bookingId,
  ]);
  await tx.execute(
    `update retrain_requests set state = 'booked', booking_id = $2, attempts = attempts + 1, failure = null, updated_at = clock_timestamp()
     where request_id = $1`,
    [request.request_id, bookingId],
  );
}

/** A booking that was released has trained; any other end is tried again later, or is the end of the request. */
async function settle(tx: Tx, ctx: ScoringContext, request: EndedRequest): Promise<void> {
  if (!isEnded(request.state)) return;
  const { state, data } = request;
  const waitMs = request.started_at === null ? null : request.started_at.getTime() - request.created_at.getTime();
  if (waitMs !== null) ctx.metrics.retrainWaited(waitMs / 1000);
  await tx.execute(
    'update retrain_requests set queue_wait_ms = coalesce($2, queue_wait_ms), manifest_sha256 = $3 where request_id = $1',
    [request.request_id, waitMs === null ? null : Math.max(0, waitMs), request.manifest_sha256],
  );
  if (state === 'released') {
    await tx.execute(
      `update retrain_requests set state = 'done', updated_at = clock_timestamp() where request_id = $1 and state = 'booked'`,
      [request.request_id],
    );
    return;
  }
  const failure = data.reason ?? { code: state, text: `the booking ended ${state}`, mend: 'see merit why' };
  // Somebody wanted this end: trying again would work against them.
  const isFinal = state === 'cancelled' || state === 'revoked' || request.attempts >= MAX_RETRAIN_ATTEMPTS;
  if (isFinal) {
    await fail(tx, request.request_id, failure);
    return;
  }
  await tx.execute(
    `update retrain_requests set state = 'open', next_try_ms = $2, failure = $3, updated_at = clock_timestamp() where request_id = $1 and state = 'booked'`,
    [request.request_id, ctx.clock.now() + FIRST_BACKOFF_MS * 2 ** (request.attempts - 1), JSON.stringify(failure)],
  );
}

/** The version that never came leaves the contest. Its open challenge holds no report and so never counts. */
async function fail(
  tx: Tx,
  requestId: string,
  failure: { readonly code: string; readonly text: string; readonly mend: string },
): Promise<void> {
  await tx.execute(
    `update retrain_requests set state = 'failed', failure = $2, updated_at = clock_timestamp() where request_id = $1 and state in ('open', 'booked')`,
    [requestId, JSON.stringify(failure)],
  );
  await tx.execute(
    `update candidates c set state = 'withdrawn' from retrain_requests r
     where r.request_id = $1 and c.tenant = r.tenant and c.suite = r.suite and c.version = r.version
       and not exists (select 1 from tick_reports t where t.tenant = c.tenant and t.suite = c.suite and t.model = c.version)`,
    [requestId],
  );
}
