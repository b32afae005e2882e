import type { BookingState, PolicyAnswer, Reason } from '../../../core/booking.ts';
import type { Json } from '../../../core/canonical.ts';
import { durationText } from '../../../core/duration.ts';
import { type Extended, type Extension, openExtension } from '../../../core/extension.ts';
import type { Tx } from '../../../platform/postgres.ts';
import { BOOKING_COLUMNS, bookingOf } from '../../../scheduler/apply/booking-store.ts';
import { heldReason } from '../../../scheduler/apply/wait-reasons.ts';
import type { JobFilter } from '../jobs-service.ts';
import type { Page, Rows, View } from '../services.ts';
import { moneyText } from './base.ts';

/** Jobs as the API shows them: the booking with its newest attempt. */

interface AttemptRow {
  readonly attempt: number;
  readonly pool: string;
  readonly flavour: string;
  readonly provider: string;
  readonly key: string;
  readonly handle: { readonly id?: string } | null;
  readonly started_at: Date | null;
  readonly ended_at: Date | null;
  readonly outcome: string | null;
  readonly message: string | null;
}

interface JoinedRow {
  readonly newest: AttemptRow | null;
  readonly retry_of: string | null;
  readonly retried_as: string | null;
}

const SELECT = `select ${BOOKING_COLUMNS},
  (select to_jsonb(a) from attempts a where a.booking_id = b.booking_id order by a.attempt desc limit 1) as newest,
  retry_of, (select r.booking_id from bookings r where r.retry_of = b.booking_id) as retried_as
  from bookings b`;

export async function jobView(tx: Tx, tenant: string, jobId: string): Promise<View | undefined> {
  const [row] = await tx.query<JoinedRow>(`${SELECT} where tenant = $1 and booking_id = $2`, [tenant, jobId]);
  return row === undefined ? undefined : viewOf(row);
}

/** Newest first; the sort key is the creation time and the id. */
export async function jobRows(tx: Tx, tenant: string, filter: JobFilter, page: Page): Promise<Rows> {
  const [createdAt = null, id = null] = page.after?.split('|') ?? [];
  const rows = await tx.query<JoinedRow>(
    `${SELECT} where tenant = $1
       and ($2::text is null or state = $2) and ($3::text is null or division = $3)
       and ($4::text is null or spec->>'model' = $4) and ($5::text is null or job_name = $5)
       and ($6::timestamptz is null or (created_at, booking_id) < ($6::timestamptz, $7))
       and ($9::timestamptz is null or created_at >= $9::timestamptz)
       and (not $10::boolean or not ended) and ($11::boolean or not (spec ? 'money'))
     order by created_at desc, booking_id desc limit $8`,
    [
      tenant,
      filter.state ?? null,
      filter.division ?? null,
      filter.model ?? null,
      filter.name ?? null,
      createdAt,
      id,
      page.limit,
      filter.since ?? null,
      filter.live === 'true',
      filter.money === true,
    ],
  );
  const last = rows.length === page.limit && rows.length > 0 ? bookingOf(rows.at(-1) as JoinedRow) : undefined;
  return {
    items: rows.map(viewOf),
    last: last === undefined ? undefined : `${new Date(last.createdAtMs).toISOString()}|${last.bookingId}`,
  };
}

function viewOf(row: JoinedRow): View {
  const booking = bookingOf(row);
  const { newest } = row;
  const { state } = booking;
  const placement = 'placement' in state ? state.placement : undefined;
  const handle = 'handle' in state ? state.handle?.id : undefined;
  return {
    id: booking.bookingId,
    name: booking.jobName,
    division: booking.division,
    model: booking.spec.model,
    state: state.state,
    attempt: state.attempt,
    pool: placement?.pool ?? newest?.pool ?? null,
    flavour: placement?.flavour ?? newest?.flavour ?? null,
    provider: placement?.provider ?? newest?.provider ?? null,
    handle: handle ?? newest?.handle?.id ?? null,
    requester: booking.requester,
    traceId: booking.traceId,
    specHash: booking.specHash,
    createdAt: new Date(booking.createdAtMs).toISOString(),
    updatedAt: new Date(booking.updatedAtMs).toISOString(),
    reasons: reasonsOf(state).map((reason) => ({ ...reason })),
    leaseEndsAt: state.state === 'applied' ? new Date(state.leaseEndsAtMs).toISOString() : null,
    extensions: ('extensions' in state ? (state.extensions ?? []) : []).map(extensionView),
    retryOf: row.retry_of,
    retriedAs: row.retried_as,
    spec: booking.spec as unknown as Json,
  };
}

/** `costs` is what it adds to what the job may cost at most. */
function extensionView(extension: Extension, i: number): View {
  const { state, byMs, actor, askedAtMs } = extension;
  return {
    number: i + 1,
    state,
    by: durationText(byMs),
    askedBy: actor,
    askedAt: new Date(askedAtMs).toISOString(),
    costs: 'holdCents' in extension ? moneyText(BigInt(extension.holdCents)) : null,
    reason: 'reason' in extension ? { ...extension.reason } : null,
  };
}

/** Everything that stands between a booking and its next state, or what ended it. */
export function reasonsOf(state: BookingState): readonly Reason[] {
  switch (state.state) {
    case 'waiting':
      return state.held === undefined ? state.reasons : [heldReason(state.held), ...state.reasons];
    case 'awaiting_signatures':
      return [signaturesReason(state.policy)];
    case 'requesting':
      return state.unknown
        ? [
            {
              code: 'provider_unknown',
              text: 'the provider did not answer whether it took the job; it is looked up before it is asked again',
              mend: 'wait; see that the provider is up',
            },
          ]
        : [];
    case 'releasing':
      return [state.reason];
    case 'reserved':
    case 'confirming':
      return [];
    case 'applied':
      return extensionReasons(state);
    case 'draining':
    case 'released':
    case 'rejected':
    case 'infeasible':
    case 'failed':
    case 'expired':
    case 'cancelled':
    case 'revoked':
      return [state.reason];
  }
}

function signaturesReason({ signatures, proposal }: PolicyAnswer): Reason {
  const until = proposal === undefined ? '' : ` by ${new Date(proposal.expiresAtMs).toISOString()}`;
  const text = `${signatures} people have to sign it${until}`;
  return { code: 'signatures', text, mend: 'have them sign: `merit allocations approve`; or cancel it' };
}

/** A longer lease that is on its way, or the last one that was refused. */
function extensionReasons(of: Extended): readonly Reason[] {
  const last = of.extensions?.at(-1);
  const open = openExtension(of);
  if (open !== undefined) {
    const asks = open.state === 'asked' ? 'SentinelNet' : 'Finance and SentinelNet';
    const text = `${open.actor} asked for ${durationText(open.byMs)} more: waits for ${asks}`;
    return [{ code: 'extending', text, mend: 'wait a second' }];
  }
  if (last?.state !== 'refused') return [];
  return [{ ...last.reason, text: `${durationText(last.byMs)} more were refused: ${last.reason.text}` }];
}

/** Every attempt, oldest first. */
export async function attemptViews(tx: Tx, tenant: string, jobId: string): Promise<readonly View[]> {
  const rows = await tx.query<AttemptRow>(
    `select attempt, pool, flavour, provider, key, handle, started_at, ended_at, outcome, message
     from attempts where tenant = $1 and booking_id = $2 order by attempt`,
    [tenant, jobId],
  );
  return rows.map((row) => ({
    attempt: row.attempt,
    pool: row.pool,
    flavour: row.flavour,
    provider: row.provider,
    key: row.key,
    handle: row.handle?.id ?? null,
    startedAt: row.started_at?.toISOString() ?? null,
    endedAt: row.ended_at?.toISOString() ?? null,
    outcome: row.outcome,
    message: row.message,
  }));
}
