import { newBooking } from '../../core/booking.ts';
import { canonicalText, type Json } from '../../core/canonical.ts';
import type { BookingId } from '../../core/ids.ts';
import { type JobSpec, specHash } from '../../core/job.ts';
import { RefusedInput, refuse } from '../../core/refusal.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import type { Tx } from '../../platform/postgres.ts';
import { notifyBookings } from './wake.ts';

export interface NewBooking {
  readonly bookingId: BookingId;
  readonly tenant: string;
  readonly division: string;
  readonly requester: string;
  readonly actor: string;
  readonly traceId: string;
  readonly spec: JobSpec;
  readonly nowMs: number;
  /** Ids of the audit events that led to it: the demotion, for a retrain. */
  readonly causes?: readonly string[];
  /** Hashes of the evidence it rests on: the signed decision, for a retrain. */
  readonly evidence?: readonly string[];
}

/** The code a job runs, by content: `code:<sha256>` names a stored working directory; null where it brings none. */
export function codeHash(spec: JobSpec): string | null {
  return spec.workdir === null ? null : spec.workdir.slice('code:'.length);
}

const CODE_REFERENCE = /^code:[0-9a-f]{64}$/;

/** A new booking in `waiting` with its audit event, in the caller's transaction. Throws RefusedInput where the division or the code is unknown. */
export async function createBooking(tx: Tx, input: NewBooking): Promise<void> {
  const { spec } = input;
  if (spec.workdir !== null && !CODE_REFERENCE.test(spec.workdir)) {
    throw new RefusedInput([
      refuse(
        'workdir',
        'workdir',
        'is not a stored working directory',
        'upload it first: `merit submit` does, or PUT /v1/code',
      ),
    ]);
  }
  const known = await tx.query('select 1 from divisions where tenant = $1 and division = $2', [
    input.tenant,
    input.division,
  ]);
  if (known.length === 0) {
    throw new RefusedInput([
      refuse(
        'unknown_division',
        'division',
        `${input.division} does not exist`,
        'name a division that a pool grants a quota to',
      ),
    ]);
  }
  const hash = specHash(spec);
  const at = new Date(input.nowMs);
  await tx.execute(
    `insert into bookings (booking_id, tenant, division, job_name, requester, trace_id, spec, spec_hash, state, data, version, created_at, updated_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, 'waiting', $9, 1, $10, $10)`,
    [
      input.bookingId,
      input.tenant,
      input.division,
      spec.name,
      input.requester,
      input.traceId,
      canonicalText(spec),
      hash,
      canonicalText(newBooking()),
      at,
    ],
  );
  await appendAudit(tx, {
    tenant: input.tenant,
    subject: `booking/${input.bookingId}`,
    type: 'booking.created',
    at: at.toISOString(),
    actor: input.actor,
    trace: input.traceId,
    data: {
      spec: spec as unknown as Json,
      specHash: hash,
      codeHash: codeHash(spec),
      requester: input.requester,
      division: input.division,
      ...(input.causes === undefined ? {} : { causes: input.causes }),
      ...(input.evidence === undefined ? {} : { evidence: input.evidence }),
    },
  });
  await notifyBookings(tx);
}
