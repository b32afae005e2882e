import { randomBytes } from 'node:crypto';
import { hasCode } from '../../../artifacts/code.ts';
import { artifactsPrefix } from '../../../artifacts/paths.ts';
import { loadManifest, manifestOf, type RecordedManifest } from '../../../artifacts/store.ts';
import { type Verification, verifyManifest } from '../../../artifacts/verify.ts';
import type { Reason } from '../../../core/booking.ts';
import type { Json } from '../../../core/canonical.ts';
import { type BookingId, ulid } from '../../../core/ids.ts';
import type { JobSpec } from '../../../core/job.ts';
import type { MoneySpec } from '../../../core/money-request.ts';
import { RefusedInput, refuse } from '../../../core/refusal.ts';
import { buildReceipt } from '../../../ledger/audit/receipt.ts';
import type { Tx } from '../../../platform/postgres.ts';
import { REASON_CODES } from '../../../scheduler/admission/decision.ts';
import { type Booking, loadBooking } from '../../../scheduler/apply/booking-store.ts';
import { cancelBooking } from '../../../scheduler/apply/cancel.ts';
import { bookMoney, closeMoney } from '../../../scheduler/apply/close-money.ts';
import { arrayTasks, codeHash, createBookings } from '../../../scheduler/apply/create-booking.ts';
import { etaRecords } from '../../../scheduler/apply/eta-record.sql.ts';
import { askExtension } from '../../../scheduler/apply/extend.ts';
import { setHold } from '../../../scheduler/apply/hold.ts';
import { isMoneyAlone } from '../../../scheduler/apply/money-alone.ts';
import { topOf } from '../../../scheduler/apply/queue-top.ts';
import { retryBooking } from '../../../scheduler/apply/retry.ts';
import { verifyLogs } from '../../../scheduler/apply/verify-logs.ts';
import type { JobsService } from '../jobs-service.ts';
import type { Caller, View } from '../services.ts';
import { subjectEvents } from './audit-view.sql.ts';
import type { RoomPorts } from './base.ts';
import { costView } from './cost-view.sql.ts';
import { etaView } from './eta-view.ts';
import { JobLogs } from './job-logs.ts';
import { metricsView } from './job-metrics.sql.ts';
import { attemptViews, jobRows, jobView, reasonsOf } from './job-view.sql.ts';
import { planView } from './plan-view.ts';
import { type QueueExplanation, queueExplanation } from './queue-explanation.ts';
import { topView } from './top-view.ts';

export function jobsOf(ports: RoomPorts): JobsService {
  const jobLogs = new JobLogs(ports);
  return {
    prepare: async (caller, spec) => {
      await requireCode(ports, spec);
      await requireOptions(ports, caller, spec);
    },
    submit: (tx, caller, spec) => submit(tx, caller, spec),
    requestMoney: (tx, caller, spec) => requestMoney(tx, caller, spec),
    closeMoney: (tx, caller, jobId, spent) => close(tx, caller, jobId, spent),
    cancel: (tx, caller, jobId) => cancel(tx, caller, jobId),
    hold: (tx, caller, jobId, wanted) => hold(tx, caller, jobId, wanted),
    retry: (tx, caller, jobId, force) => retry(tx, caller, jobId, force),
    extend: (tx, caller, jobId, byMs) => extend(tx, caller, jobId, byMs),
    plan: async (caller, spec) => {
      await requireOptions(ports, caller, spec);
      return planView(ports, caller, spec);
    },
    list: (tx, caller, filter, page) => jobRows(tx, caller.identity.tenant, filter, page),
    top: async (caller) => {
      const { tenant } = caller.identity;
      const records = await ports.db.asTenant(tenant, (tx) => etaRecords(tx, tenant));
      const top = topView(topOf(await ports.queues.of(tenant), caller.nowMs));
      return { ...top, etas: records.map((record) => etaView(record.pool, record)) };
    },
    get: (tx, caller, jobId) => jobView(tx, caller.identity.tenant, jobId),
    why: (caller, jobId) => why(ports, caller, jobId),
    events: async (tx, caller, jobId) => {
      const events = await subjectEvents(tx, caller.identity.tenant, `booking/${jobId}`);
      return events.length === 0 ? undefined : events;
    },
    artifacts: async (tx, _caller, jobId) => {
      const record = await newestManifest(tx, jobId);
      const manifest = record === undefined ? undefined : manifestOf(record.record);
      if (record === undefined || manifest === undefined) return undefined;
      return { ...manifest, manifestSha256: record.record.sha256 } as unknown as View;
    },
    metrics: (tx, caller, jobId) => metricsView(tx, caller.identity.tenant, jobId),
    cost: async (tx, caller, jobId) =>
      (await loadBooking(tx, jobId)) === undefined ? undefined : costView(tx, caller.identity.tenant, jobId),
    logs: (caller, jobId, query, signal) => jobLogs.piece(caller, jobId, query, signal),
    logTail: (caller, jobId, query, signal) => jobLogs.tailFrom(caller, jobId, query, signal),
    verify: (caller, jobId, signal) => verify(ports, caller, jobId, signal),
    receipt: (caller, jobId) => receipt(ports, caller, jobId),
  };
}

async function requireCode(ports: RoomPorts, spec: JobSpec): Promise<void> {
  const hash = codeHash(spec);
  if (hash === null || !/^[0-9a-f]{64}$/.test(hash) || (await hasCode(ports.store, hash))) return;
  throw new RefusedInput([
    refuse('unknown_code', 'workdir', 'is not stored here', 'upload it first: `merit submit` does, or PUT /v1/code'),
  ]);
}

/** By the kinds of the pools that it names and that are there. Whoever runs it checks them again. */
async function requireOptions(ports: RoomPorts, { identity }: Caller, { options, pools }: JobSpec): Promise<void> {
  if (options === undefined) return;
  const rows = await ports.db.asTenant(identity.tenant, (tx) =>
    tx.query<{ kind: string }>("select distinct file #>> '{provider,kind}' as kind from pools where pool = any($1)", [
      pools,
    ]),
  );
  const kinds = rows.map(({ kind }) => kind);
  const refusals = await ports.providers.optionRefusals(options, kinds);
  if (refusals.length > 0) throw new RefusedInput(refusals);
}

async function submit(tx: Tx, caller: Caller, spec: JobSpec): Promise<View> {
  const { tenant, principal } = caller.identity;
  const newId = () => ulid(caller.nowMs, randomBytes(10));
  const booking = {
    bookingId: newId(),
    tenant,
    division: spec.division,
    requester: principal,
    actor: principal,
    traceId: caller.traceId,
    spec,
    nowMs: caller.nowMs,
  };
  const tasks = arrayTasks(booking, newId);
  await createBookings(tx, tasks);
  const view = (await jobView(tx, tenant, booking.bookingId)) as View;
  return spec.array === undefined ? view : { ...view, tasks: tasks.map((task) => task.bookingId) };
}

async function requestMoney(tx: Tx, caller: Caller, spec: MoneySpec): Promise<View> {
  const { tenant, principal } = caller.identity;
  const { traceId, nowMs } = caller;
  const bookingId = ulid(nowMs, randomBytes(10));
  const by = { requester: principal, actor: principal, traceId, nowMs };
  await bookMoney(tx, { bookingId, tenant, division: spec.division, ...by, spec });
  return (await jobView(tx, tenant, bookingId)) as View;
}

async function close(tx: Tx, caller: Caller, jobId: string, spent: string): ReturnType<JobsService['closeMoney']> {
  const { tenant, principal } = caller.identity;
  const outcome = await closeMoney(tx, jobId, spent, { actor: principal, nowMs: caller.nowMs });
  if (outcome === undefined || outcome.kind === 'refused') return outcome;
  return { kind: outcome.kind, view: (await jobView(tx, tenant, jobId)) as View };
}

async function hold(tx: Tx, caller: Caller, jobId: string, wanted: 'hold' | 'let_go'): ReturnType<JobsService['hold']> {
  const { tenant, principal } = caller.identity;
  const outcome = await setHold(tx, jobId, wanted, principal, caller.nowMs);
  if (outcome === undefined) return undefined;
  return { kind: outcome.kind, view: (await jobView(tx, tenant, jobId)) as View };
}

async function retry(tx: Tx, caller: Caller, jobId: string, force: boolean): ReturnType<JobsService['retry']> {
  const { tenant, principal } = caller.identity;
  const { traceId, nowMs } = caller;
  const bookingId = ulid(nowMs, randomBytes(10));
  const outcome = await retryBooking(tx, { jobId, bookingId, requester: principal, traceId, nowMs, force });
  if (outcome?.kind !== 'booked') return outcome;
  return { kind: 'booked', view: (await jobView(tx, tenant, bookingId)) as View };
}

async function extend(tx: Tx, caller: Caller, jobId: string, byMs: number): ReturnType<JobsService['extend']> {
  const { tenant, principal } = caller.identity;
  const outcome = await askExtension(tx, jobId, byMs, principal, caller.nowMs);
  if (outcome?.kind !== 'asked') return outcome;
  return { kind: 'asked', view: (await jobView(tx, tenant, jobId)) as View };
}

async function cancel(tx: Tx, caller: Caller, jobId: string): ReturnType<JobsService['cancel']> {
  const { tenant, principal } = caller.identity;
  const outcome = await cancelBooking(tx, jobId as BookingId, principal, caller.nowMs);
  if (outcome === undefined) return undefined;
  return { kind: outcome.kind, view: (await jobView(tx, tenant, jobId)) as View };
}

async function why(ports: RoomPorts, caller: Caller, jobId: string): Promise<View | undefined> {
  const { tenant } = caller.identity;
  const found = await ports.db.asTenant(tenant, async (tx) => {
    const booking = await loadBooking(tx, jobId);
    return booking === undefined ? undefined : { booking, attempts: await attemptViews(tx, tenant, jobId) };
  });
  if (found === undefined) return undefined;
  const { booking, attempts } = found;
  const { state } = booking;
  const queue = await inQueue(ports, booking, caller.nowMs);
  const reasons = [...reasonsOf(state), ...(await awayReason(ports, booking))];
  return {
    id: jobId,
    name: booking.jobName,
    state: state.state,
    attempt: state.attempt,
    since: new Date(booking.updatedAtMs).toISOString(),
    position: queue?.position ?? null,
    eta: queue?.eta ?? null,
    smallestChange: queue?.smallestChange ?? null,
    reasons: told(reasons, queue?.reasons ?? [], state.state === 'waiting'),
    policy: 'policy' in state && state.policy !== undefined ? ({ ...state.policy } as unknown as Json) : null,
    attempts,
  };
}

/** What the planner says of a waiting booking now. undefined: it does not wait, or the queue that was read is older than it. */
async function inQueue(ports: RoomPorts, booking: Booking, nowMs: number): Promise<QueueExplanation | undefined> {
  if (booking.state.state !== 'waiting') return undefined;
  const { gates, planned } = (await ports.queues.of(booking.tenant)).explain(booking.bookingId, nowMs);
  return queueExplanation(gates, planned);
}

const NOT_PLANNED_YET = {
  code: 'not_planned_yet',
  text: 'nothing stands against it: the planner has yet to look at it',
  mend: 'wait a second',
};

/** What is stored (a peer that is away, a hold) and what the planner says now; it says more of what both name. */
function told(stored: readonly Reason[], planned: readonly View[], waits: boolean): readonly View[] {
  const codes = new Set(planned.map((reason) => reason.code));
  const plannerTold = new Set<string>(REASON_CODES);
  const rest = stored.filter(({ code }) => !codes.has(code) && !(planned.length > 0 && plannerTold.has(code)));
  const all = [...rest.map((reason) => ({ ...reason })), ...planned];
  return all.length === 0 && waits ? [{ ...NOT_PLANNED_YET }] : all;
}

/** A booking that rests on its provider goes no further while that is away, whatever its state says. */
async function awayReason(ports: RoomPorts, { state, spec, tenant }: Booking): Promise<readonly Reason[]> {
  if (!('placement' in state) || isMoneyAlone({ spec })) return [];
  const { pool } = state.placement;
  const { away } = await ports.providers.health(tenant, pool);
  if (away === undefined) return [];
  return [
    {
      code: 'provider_away',
      text: `the provider of pool ${pool} is away: ${away}`,
      mend: 'start or mend the provider; the booking goes on by itself',
    },
  ];
}

interface AttemptManifest {
  readonly attempt: number;
  readonly record: RecordedManifest;
}

async function newestManifest(tx: Tx, jobId: string): Promise<AttemptManifest | undefined> {
  const [row] = await tx.query<{ attempt: number }>(
    'select attempt from manifests where booking_id = $1 order by attempt desc limit 1',
    [jobId],
  );
  const record = row === undefined ? undefined : await loadManifest(tx, jobId, row.attempt);
  return row === undefined || record === undefined ? undefined : { attempt: row.attempt, record };
}

async function verify(
  ports: RoomPorts,
  caller: Caller,
  jobId: string,
  signal: AbortSignal,
): Promise<View | null | undefined> {
  const { tenant } = caller.identity;
  const found = await ports.db.asTenant(tenant, async (tx) => ({
    booking: await loadBooking(tx, jobId),
    manifest: await newestManifest(tx, jobId),
  }));
  if (found.booking === undefined) return undefined;
  const read = <T>(work: (tx: Tx) => Promise<T>) => ports.db.asTenant(tenant, work);
  const logs = await verifyLogs(read, ports.store, { tenant, bookingId: jobId }, signal);
  if (found.manifest === undefined && logs.logs.length === 0 && logs.findingsTotal === 0) return null;
  const files = await verifyFiles(ports, { tenant, jobId }, found.manifest, signal);
  return {
    id: jobId,
    ...files,
    ...logs,
    ok: files.ok && logs.findingsTotal === 0,
    findings: [...files.findings, ...logs.findings],
    findingsTotal: files.findingsTotal + logs.findingsTotal,
  } as unknown as View;
}

const NO_FILES = { ok: true, findings: [], findingsTotal: 0, filesRead: 0, bytesRead: 0 };

async function verifyFiles(
  ports: RoomPorts,
  { tenant, jobId }: { readonly tenant: string; readonly jobId: string },
  manifest: AttemptManifest | undefined,
  signal: AbortSignal,
): Promise<Verification & { readonly attempt: number | null; readonly manifestSha256: string | null }> {
  if (manifest === undefined) return { attempt: null, manifestSha256: null, ...NO_FILES };
  const { attempt, record } = manifest;
  const files = await verifyManifest(ports.store, artifactsPrefix(tenant, jobId, attempt), record, { signal });
  return { attempt, manifestSha256: record.sha256, ...files };
}

async function receipt(ports: RoomPorts, caller: Caller, jobId: string): ReturnType<JobsService['receipt']> {
  const built = await ports.db.asTenant(caller.identity.tenant, (tx) => buildReceipt(tx, jobId));
  switch (built.kind) {
    case 'receipt':
      return { kind: 'ready', bytes: Buffer.from(built.text, 'utf8') };
    case 'not_found':
      return undefined;
    case 'not_ended':
      return { kind: 'not_yet', text: `the job is ${built.state}: a receipt is of a job that has ended` };
    case 'not_sealed':
      return { kind: 'not_yet', text: 'its last events are not under a signed checkpoint yet; ask again in a second' };
    case 'too_large':
      return { kind: 'not_yet', text: 'it has more events than a receipt may hold' };
  }
}
