import type { StateName } from '../../core/booking.ts';
import type { StoredTransfer } from '../../ledger/quota/transfer.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import { isGivenBack, price } from './extension-rules.ts';
import { HOLDING, type Known, type Model, must, type StateOf } from './model.ts';

/** What must be so in the world at the moment in which a booking enters a state, and what the model then knows of it. */
export function entryRules(model: Model, known: Known, after: Booking, fresh: readonly StoredTransfer[]): Known {
  const nowMs = model.outside.timeline.now();
  const next = { ...known, booking: after, sinceMs: nowMs };
  const { state } = after;
  switch (state.state) {
    case 'reserved':
      return { ...next, ...reserved(model, known, after, state, fresh) };
    case 'requesting':
      requesting(model, known, state);
      return next;
    case 'confirming':
      must(wasAccepted(model, after, state), 'a handle is of something that was accepted', after.bookingId);
      return next;
    case 'applied':
      applied(model, known, after, state, fresh);
      return next;
    case 'draining':
      draining(known, state, nowMs);
      return next;
    case 'releasing':
      releasing(model, known, after, state, nowMs);
      return next;
    case 'awaiting_signatures':
      return next;
    default:
      return known.booking.state.state === 'releasing'
        ? { ...next, ...undone(model, known, after, known.booking.state, fresh) }
        : next;
  }
}

function keyOf(booking: Booking, attempt: number): string {
  return `m-${booking.bookingId}-${attempt}`;
}

function reserved(
  model: Model,
  known: Known,
  { bookingId, spec, tenant, division }: Booking,
  { placement, attempt, policy }: StateOf<'reserved'>,
  fresh: readonly StoredTransfer[],
): Pick<Known, 'units' | 'held' | 'leaseMs' | 'longer'> {
  const { sentinel, timeline } = model.outside;
  const before = known.booking.state;
  if (before.state === 'waiting') {
    must(before.held === undefined, 'what is held stays', bookingId);
    must(timeline.now() >= before.notBeforeMs, 'who backs off is not tried', bookingId);
    const place = `${placement.pool}/${placement.flavour}`;
    const refusal = before.passedOver?.find((one) => one.place === place);
    must(refusal === undefined || timeline.now() >= refusal.untilMs, 'who refused is not asked at once', bookingId);
  }
  for (const need of known.needs)
    must(model.known.get(need)?.booking.state.state === 'released', 'dependencies come first', bookingId);
  const { array } = spec;
  if (array?.maxParallel !== undefined) {
    const under = [...model.known.values()].filter(
      ({ booking }) => booking.spec.array?.id === array.id && HOLDING.has(booking.state.state),
    );
    must(under.length < array.maxParallel, 'an array is as wide as it may be', bookingId);
  }
  must(
    sentinel.allowed.some(
      (one) => one.requestId === keyOf(known.booking, attempt) && one.requestHash === policy.requestHash,
    ),
    'nothing is reserved that no policy allowed',
    bookingId,
  );
  const nodes = placement.nodes ?? 1;
  must(nodes >= (spec.minNodes ?? spec.nodes ?? 1) && nodes <= (spec.nodes ?? 1), 'a gang is whole', bookingId);
  const units = BigInt(spec.gpuMilli) * BigInt(nodes);
  // What earlier attempts were granted stays.
  const leaseMs = Math.max(spec.leaseMs, known.leaseMs);
  const held = price(units, BigInt(leaseMs), BigInt(placement.centsPerUnitHour));
  must(
    BigInt(placement.gpuMilli) === units && BigInt(placement.holdCents) === held,
    'the whole lease is held',
    bookingId,
  );
  const { pool, flavour } = placement;
  must(spec.pools.includes(pool), 'a job runs where it may', `${bookingId} in ${pool}`);
  const wanted = [
    [`capacity:${tenant}:${pool}:${flavour}:gpu`, `quota:${tenant}:${division}:${pool}:${flavour}:gpu`, units],
    [`budget:${tenant}:${division}:USD`, `spend:${tenant}:${division}:USD`, held],
  ];
  const got = fresh.map(({ kind, debit, credit, amount }) => [kind, debit, credit, amount].join(' '));
  must(
    got.join() === wanted.map(([debit, credit, amount]) => ['pending', debit, credit, amount].join(' ')).join(),
    'quota and money are reserved together',
    `${bookingId}: ${got.join()}`,
  );
  return { units, held, leaseMs, longer: [] };
}

function requesting(model: Model, known: Known, { holdId }: StateOf<'requesting'>): void {
  const hold = model.outside.finance.book.get(holdId);
  must(hold?.status === 'held' && hold.request !== null, 'the money is held before anything is asked for', holdId);
  must(hold.request.bookingId === known.booking.bookingId, 'a hold is of its booking', holdId);
  const cents = BigInt(hold.request.amount.amount.replace('.', ''));
  must(cents === known.held, 'Finance holds what the ledger holds', `${holdId}: ${cents} and ${known.held}`);
}

function wasAccepted(model: Model, booking: Booking, state: StateOf<'confirming' | 'applied'>): boolean {
  return model.outside.providers.get(state.placement.pool)!.resources.has(keyOf(booking, state.attempt));
}

function applied(
  model: Model,
  known: Known,
  booking: Booking,
  state: StateOf<'applied'>,
  fresh: readonly StoredTransfer[],
): void {
  const { finance, sentinel, books } = model.outside;
  const id = booking.bookingId;
  must(finance.book.get(state.holdId)?.status === 'confirmed', 'applied: Finance has confirmed', id);
  must(wasAccepted(model, booking, state), 'applied: the provider has accepted', id);
  const { policyVersion, requestHash } = state.policy;
  must(
    sentinel.allowed.some((one) => one.requestHash === requestHash && one.policyVersion === policyVersion),
    'applied: a policy has allowed it',
    id,
  );
  // In force at some moment since it came to be confirmed: it may change while the answer travels.
  const at = sentinel.versions.findIndex(({ version }) => version === policyVersion);
  const until = sentinel.versions[at + 1]?.fromMs ?? Number.POSITIVE_INFINITY;
  must(until >= known.sinceMs, 'applied: by the policy in force', `${id}: ${policyVersion}`);
  const { proposal, signatures } = state.policy;
  const signed = books.proposals.get(proposal?.id ?? '');
  must(signatures === 0 || signed?.state === 'done', 'applied: people have signed it', id);
  must(signed?.usedBy === undefined, 'applied: what was signed is used once', `${id}: ${signed?.usedBy}`);
  if (signed !== undefined) signed.usedBy = keyOf(booking, state.attempt);
  must(books.trailAgeMs(state.appliedAtMs) < 5_000, 'applied: the trail is sealed', id);
  const posts = fresh.map(({ kind, amount }) => `${kind} ${amount}`).join();
  must(
    posts === `post ${known.units},post ${known.held}`,
    'applied: quota and money are posted whole',
    `${id}: ${posts}`,
  );
  must(state.leaseEndsAtMs === state.appliedAtMs + known.leaseMs, 'a lease is as long as it was granted', id);
}

function draining(known: Known, { deadlineMs, reason, outcome }: StateOf<'draining'>, nowMs: number): void {
  const { bookingId, spec, state } = known.booking;
  // The time is taken before the transaction, which takes its own.
  must(deadlineMs + COMMIT_MS >= nowMs + (spec.graceMs ?? 30_000), 'a notice is as long as it has to be', bookingId);
  if (outcome === 'expired' && state.state === 'applied')
    must(nowMs >= state.leaseEndsAtMs, 'a lease is not cut short', bookingId);
  if (outcome === 'retry' && reason.for !== undefined && spec.maxPreemptions !== undefined)
    must(known.preempted < spec.maxPreemptions, 'preempted no more often than it may be', bookingId);
}

/** Between the taking of a time and the commit that stores it: one commit that is lost goes before. */
const COMMIT_MS = 12_000;
/** Between a provider's answer and what is committed for it. */
const BELIEVED_MS = 30_000;

function releasing(model: Model, known: Known, booking: Booking, state: StateOf<'releasing'>, nowMs: number): void {
  const from = known.booking.state;
  if (from.state !== 'applied' && from.state !== 'draining') {
    must(state.appliedAtMs === null, 'what was not applied is not billed', booking.bookingId);
    return;
  }
  const provider = model.outside.providers.get(state.placement.pool)!;
  const isLive = provider.isLive(keyOf(booking, state.attempt));
  const isOver = from.state === 'draining' && nowMs >= from.deadlineMs;
  // A provider that says twice that it knows nothing of it is believed.
  const wasDenied = nowMs - provider.missedAtMs < BELIEVED_MS;
  // Who cancels what was to make room and go on needs no checkpoint of it.
  const isCalledOff = from.state === 'draining' && from.outcome === 'retry' && state.reason.code === 'cancelled';
  const mayEnd = !isLive || isOver || wasDenied || isCalledOff;
  must(mayEnd, 'what runs is not given up before its notice is over', booking.bookingId);
  must(state.appliedAtMs === from.appliedAtMs, 'billing begins with the apply', booking.bookingId);
  must(
    state.endedAtMs >= from.appliedAtMs && state.endedAtMs <= nowMs,
    'billing ends between apply and now',
    booking.bookingId,
  );
  const resource = provider.resources.get(keyOf(booking, state.attempt));
  if (state.reason.code === 'succeeded' || state.reason.code === 'job_failed') {
    const told = state.reason.code === 'succeeded' ? 'succeeded' : 'failed';
    must(resource?.state === told, 'a job ends as its provider says', booking.bookingId);
    const endedAtMs = Math.max(from.appliedAtMs, resource.endedAtMs!);
    must(state.endedAtMs === endedAtMs, 'billing ends when the job did', booking.bookingId);
  }
  if (state.reason.code === 'succeeded')
    must(model.outside.books.manifests.has(keyOf(booking, state.attempt)), 'what it wrote is kept', booking.bookingId);
}

/** From `releasing` to its end, or to its next attempt: nothing of it is left anywhere. */
function undone(
  model: Model,
  known: Known,
  after: Booking,
  from: StateOf<'releasing'>,
  fresh: readonly StoredTransfer[],
): Partial<Known> {
  const { providers, finance } = model.outside;
  const { bookingId } = after;
  const ends: StateName = from.outcome === 'retry' ? 'waiting' : from.outcome;
  must(after.state.state === ends, 'it ends as it was to', `${bookingId}: ${after.state.state}, not ${ends}`);
  const provider = providers.get(from.placement.pool)!;
  const key = keyOf(after, from.attempt);
  const resource = provider.resources.get(key);
  // What a lost request starts later is an orphan: the sweep is for it.
  const isLater = (resource?.submittedAtMs ?? 0) >= (provider.releasedAtMs.get(key) ?? Number.POSITIVE_INFINITY);
  must(!provider.isLive(key) || isLater, 'nothing of it runs when it is over', key);
  const hold = finance.book.get(`h-${bookingId}-${from.attempt}`);
  const counts = {
    failed: known.failed + (from.outcome === 'retry' && from.reason.code === 'job_failed' ? 1 : 0),
    preempted:
      known.preempted + (from.outcome === 'retry' && from.reason.code === 'preempted' && from.handle !== null ? 1 : 0),
  };
  must(counts.failed <= after.spec.maxRestarts, 'restarted no more often than it may be', bookingId);
  if (from.appliedAtMs === null) {
    must(hold === undefined || hold.status === 'reversed' || hold.status === 'refused', 'Finance has it back', key);
    for (const what of ['quota', 'money']) {
      const pendingId = `${bookingId}-${from.attempt}-${what}`;
      const isOpen = model.resolution(pendingId) === undefined && !fresh.some((row) => row.pendingId === pendingId);
      must(!isOpen, 'what it held is given back', pendingId);
      must(!fresh.some((row) => row.kind !== 'void'), 'an undone attempt only gives back', pendingId);
    }
    return { ...counts, units: 0n, held: 0n };
  }
  const used = price(known.units, BigInt(from.endedAtMs - from.appliedAtMs), BigInt(from.placement.centsPerUnitHour));
  const cost = used < known.held ? used : known.held;
  const extensions = from.extensions ?? [];
  for (const [i, { state }] of extensions.entries())
    must(
      state === 'granted' || isGivenBack(model, `${bookingId}-${from.attempt}`, i + 1, fresh),
      'no more is held',
      key,
    );
  const returned = fresh.flatMap(({ kind, amount }) => (kind === 'void' ? [] : [`${kind} ${amount}`])).join();
  must(
    returned === `direct ${known.units},direct ${known.held - cost}`,
    'the rest is given back',
    `${key}: ${returned}`,
  );
  const holds = [hold, ...known.longer.map(({ holdId }) => finance.book.get(holdId))];
  must(
    holds.every((one) => one?.status === 'settled'),
    'every hold is settled',
    key,
  );
  const settled = holds.reduce((sum, one) => sum + BigInt((one?.settled?.amount ?? '-1').replace('.', '')), 0n);
  must(settled === cost, 'Finance is paid what was used', `${key}: ${settled} of ${cost}`);
  return { ...counts, units: 0n, held: 0n, spent: known.spent + cost };
}
