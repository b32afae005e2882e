import { assert } from '../../core/assert.ts';
import { newBooking } from '../../core/booking.ts';
import { canonicalText, type Json } from '../../core/canonical.ts';
import type { BookingId } from '../../core/ids.ts';
import { type JobSpec, specHash } from '../../core/job.ts';
import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import { appendAudits } from '../../ledger/audit/append.ts';
import type { Tx } from '../../platform/postgres.ts';
import { priorityClasses } from '../../pools/priority-classes.ts';
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
  /** The booking that ended, of which this is another go. */
  readonly retryOf?: BookingId;
}

/** The code a job runs, by content: `code:<sha256>` names a stored working directory; null where it brings none. */
export function codeHash(spec: JobSpec): string | null {
  return spec.workdir === null ? null : spec.workdir.slice('code:'.length);
}

const CODE_REFERENCE = /^code:[0-9a-f]{64}$/;

/** As `createBookings`, of one. */
export function createBooking(tx: Tx, input: NewBooking): Promise<void> {
  return createBookings(tx, [input]);
}

/**
 * The bookings of an array: one a task, told apart by their index, the first one's id naming the array. A spec without an array is
 * one booking.
 */
export function arrayTasks(input: NewBooking, newId: () => BookingId): readonly NewBooking[] {
  const { array } = input.spec;
  if (array === undefined) return [input];
  return Array.from({ length: array.count }, (_, index) => ({
    ...input,
    bookingId: index === 0 ? input.bookingId : newId(),
    spec: { ...input.spec, array: { ...array, index, id: input.bookingId } },
  }));
}

/**
 * New bookings of one tenant in `waiting` with an audit event each, in the caller's transaction. Throws RefusedInput where a
 * division, a class of priority, a job that one depends on, or the form of its code is not known.
 */
export async function createBookings(tx: Tx, given: readonly NewBooking[]): Promise<void> {
  const [first] = given;
  assert(first !== undefined, 'at least one booking is made');
  const specs = given.map(({ spec }) => spec);
  const classes = await priorityClasses(tx, first.tenant, specs);
  const inputs = given.map((input) => ({ ...input, spec: classes.resolved(input.spec) }));
  const refusals = [
    ...specs.flatMap((spec) => classes.refusals(spec)).slice(0, 1),
    ...codeRefusals(inputs),
    ...(await divisionRefusals(tx, first.tenant, inputs)),
    ...(await dependencyRefusals(tx, first.tenant, inputs)),
  ];
  if (refusals.length > 0) throw new RefusedInput(refusals);
  const hashes = inputs.map(({ spec }) => specHash(spec));
  await tx.execute(
    `insert into bookings (booking_id, tenant, division, job_name, requester, trace_id, spec, spec_hash, state, data, version, created_at, updated_at, retry_of)
     select id, $2, division, name, requester, trace, spec::jsonb, hash, 'waiting', $9::jsonb, 1, at, at, retry_of
     from unnest($1::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $10::timestamptz[], $11::text[])
       as b (id, division, name, requester, trace, spec, hash, at, retry_of)`,
    [
      inputs.map((input) => input.bookingId),
      first.tenant,
      inputs.map((input) => input.division),
      inputs.map((input) => input.spec.name),
      inputs.map((input) => input.requester),
      inputs.map((input) => input.traceId),
      inputs.map((input) => canonicalText(input.spec)),
      hashes,
      canonicalText(newBooking()),
      inputs.map((input) => new Date(input.nowMs)),
      inputs.map((input) => input.retryOf ?? null),
    ],
  );
  await storeDependencies(tx, inputs);
  await appendAudits(
    tx,
    inputs.map((input, i) => createdEvent(input, hashes[i] as string)),
  );
  await notifyBookings(
    tx,
    inputs.map((input) => input.bookingId),
  );
}

function createdEvent(input: NewBooking, hash: string) {
  return {
    tenant: input.tenant,
    subject: `booking/${input.bookingId}`,
    type: 'booking.created',
    at: new Date(input.nowMs).toISOString(),
    actor: input.actor,
    trace: input.traceId,
    data: {
      spec: input.spec as unknown as Json,
      specHash: hash,
      codeHash: codeHash(input.spec),
      requester: input.requester,
      division: input.division,
      ...(input.causes === undefined ? {} : { causes: input.causes }),
      ...(input.evidence === undefined ? {} : { evidence: input.evidence }),
      ...(input.retryOf === undefined ? {} : { retryOf: input.retryOf }),
    },
  };
}

function codeRefusals(inputs: readonly NewBooking[]): readonly Refusal[] {
  const bad = inputs.some(({ spec }) => spec.workdir !== null && !CODE_REFERENCE.test(spec.workdir));
  if (!bad) return [];
  const mend = 'upload it first: `merit submit` does, or PUT /v1/code';
  return [refuse('workdir', 'workdir', 'is not a stored working directory', mend)];
}

async function divisionRefusals(tx: Tx, tenant: string, inputs: readonly NewBooking[]): Promise<readonly Refusal[]> {
  const asked = [...new Set(inputs.map((input) => input.division))];
  const known = await tx.query<{ division: string }>(
    'select division from divisions where tenant = $1 and division = any($2::text[]) and not removed',
    [tenant, asked],
  );
  const names = new Set(known.map((row) => row.division));
  const mend = 'name a division that a pool grants a quota to';
  return asked
    .filter((division) => !names.has(division))
    .map((division) => refuse('unknown_division', 'division', `${division} does not exist`, mend));
}

/** A job can name only what was there before it, so there is no circle. */
async function dependencyRefusals(tx: Tx, tenant: string, inputs: readonly NewBooking[]): Promise<readonly Refusal[]> {
  const asked = [...new Set(inputs.flatMap(({ spec }) => spec.dependsOn ?? []))];
  if (asked.length === 0) return [];
  const known = await tx.query<{ booking_id: string }>(
    'select booking_id from bookings where tenant = $1 and booking_id = any($2::text[])',
    [tenant, asked],
  );
  const ids = new Set(known.map((row) => row.booking_id));
  return asked
    .filter((id) => !ids.has(id))
    .map((id) => refuse('unknown_job', 'depends_on', `names ${id}, which does not exist`, 'see `merit jobs ls`'));
}

/** Who names a job that was retried waits for its newest go. */
async function storeDependencies(tx: Tx, inputs: readonly NewBooking[]): Promise<void> {
  const pairs = inputs.flatMap(({ bookingId, tenant, spec }) =>
    (spec.dependsOn ?? []).map((needs) => ({ bookingId, tenant, needs })),
  );
  if (pairs.length === 0) return;
  await tx.execute(
    `with recursive goes (booking_id, tenant, needs) as (
       select * from unnest($1::text[], $2::text[], $3::text[])
       union all
       select goes.booking_id, goes.tenant, b.booking_id from goes join bookings b on b.retry_of = goes.needs
     )
     insert into booking_dependencies (booking_id, tenant, needs)
     select distinct booking_id, tenant, needs from goes where not exists (select 1 from bookings b where b.retry_of = goes.needs)`,
    [pairs.map((pair) => pair.bookingId), pairs.map((pair) => pair.tenant), pairs.map((pair) => pair.needs)],
  );
}
