/** A fault planted into a copy of the sources: this text of that file becomes another. */
export interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly put: string;
  /** Hundreds of seeds may not find it: it is left to `npm run test:sim -- --mutants`. */
  readonly rare?: true;
}

const APPLY = 'scheduler/apply';

/** Each breaks a rule that the model knows; the simulator has to find every one of them. */
export const MUTANTS: readonly Mutant[] = [
  {
    name: 'nothing is released at the provider',
    file: `${APPLY}/release.saga.ts`,
    find: 'if (state.holdId !== null)',
    put: "if (state.holdId === 'never')",
  },
  {
    name: 'what was not applied is settled, what was is reversed',
    file: `${APPLY}/release.saga.ts`,
    find: 'if (cost === undefined) return [reverse',
    put: 'if (cost !== undefined) return [reverse',
  },
  {
    name: 'an undone attempt keeps what it had pending',
    file: `${APPLY}/release.saga.ts`,
    find: '? { voids: pendingIds(booking, attempt) }',
    put: '? {}',
  },
  {
    name: 'all of the money is given back',
    file: `${APPLY}/money.ts`,
    find: 'amount: BigInt(placement.holdCents) - cost.cents,',
    put: 'amount: BigInt(placement.holdCents),',
  },
  {
    name: 'billing goes on until the end is seen',
    file: `${APPLY}/money.ts`,
    find: 'toldEndMs ?? nowMs',
    put: 'nowMs',
  },
  {
    name: 'half of the capacity is given back',
    file: `${APPLY}/money.ts`,
    find: "kind: 'direct',\n      debit: account.quota,\n      credit: account.capacity,\n      amount: unitsMilli(placement),",
    put: "kind: 'direct',\n      debit: account.quota,\n      credit: account.capacity,\n      amount: unitsMilli(placement) / 2n,",
  },
  {
    name: 'one hold for all attempts',
    file: `${APPLY}/money.ts`,
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is text of a source.
    find: '-${attempt}`;\n}\n\n/** What the flavour counts',
    put: '-1`;\n}\n\n/** What the flavour counts',
  },
  {
    name: 'the policy is not looked at again',
    file: `${APPLY}/apply.saga.ts`,
    find: 'if (version === state.policy.policyVersion) return',
    put: "if (version !== '') return",
  },
  {
    name: 'silence of Finance is taken as confirmed',
    file: `${APPLY}/apply.saga.ts`,
    find: "return { kind: 'retry', why: confirmed.cause.message };",
    put: 'break;',
  },
  {
    name: 'silence of Finance is taken as held',
    file: `${APPLY}/apply.saga.ts`,
    find: "return { kind: 'retry', why: answer.cause.message };",
    put: 'break;',
  },
  {
    name: 'applied while the trail is not sealed',
    file: `${APPLY}/apply.saga.ts`,
    find: 'needsSealedTrail: true,',
    put: '',
  },
  {
    name: 'applied without posting',
    file: `${APPLY}/apply.saga.ts`,
    find: 'transfers: postTransfers(booking, state.attempt),',
    put: '',
  },
  {
    name: 'a late denial is not heard',
    file: `${APPLY}/apply.saga.ts`,
    find: "if (recheck.kind === 'deny') return undo(",
    put: "if (recheck.kind === 'never') return undo(",
  },
  {
    name: 'what expired is confirmed over and over',
    file: `${APPLY}/apply.saga.ts`,
    find: "error.outcome.kind === 'expired')",
    put: "error.outcome.kind === 'same_account')",
  },
  {
    name: 'a denial is not heard',
    file: `${APPLY}/reserve.ts`,
    find: "if (verdict.kind === 'deny') {",
    put: "if (verdict.kind === 'never') {",
  },
  {
    name: 'only quota is reserved, no money',
    file: `${APPLY}/reserve.ts`,
    find: 'transfers: reserveTransfers(booking, attempt, placement, nowMs),',
    put: 'transfers: reserveTransfers(booking, attempt, placement, nowMs).slice(0, 1),',
  },
  {
    name: 'attempts are not written down',
    file: `${APPLY}/reserve.ts`,
    find: "attempt: { kind: 'begin', pool, flavour, provider },",
    put: '',
  },
  {
    name: 'notices that were lost stay lost',
    file: `${APPLY}/live-bookings.ts`,
    find: 'if (nowMs - this.#scannedAtMs < RESCAN_MS) {',
    put: 'if (this.#scannedAtMs > 0) {',
  },
  {
    name: 'a flag is not seen by the next scan',
    file: `${APPLY}/live-bookings.ts`,
    find: ' && known.updatedAtMs === updatedAtMs',
    put: '',
  },
  {
    name: 'a look within the consistency window is believed',
    file: `${APPLY}/run.saga.ts`,
    find: 'if (ctx.clock.now() - state.appliedAtMs < provider.consistencyWindowMs)',
    put: 'if (ctx.clock.now() < 0)',
  },
  {
    name: 'a lease ends at once',
    file: `${APPLY}/run.saga.ts`,
    find: 'if (nowMs < state.leaseEndsAtMs) return undefined;',
    put: '',
  },
  {
    name: 'a notice is over at once',
    file: `${APPLY}/run.saga.ts`,
    find: 'return nowMs >= state.deadlineMs ?',
    put: 'return nowMs >= 0 ?',
  },
  {
    name: 'one restart too many',
    file: `${APPLY}/run.saga.ts`,
    find: 'return before.failed < maxRestarts;',
    put: 'return before.failed <= maxRestarts;',
  },
  {
    name: 'outputs are not kept',
    file: `${APPLY}/run.saga.ts`,
    find: 'const kept = await keepArtifacts(ctx, booking, state);',
    put: "const kept = { kind: 'kept' } as never as Awaited<ReturnType<typeof keepArtifacts>>;",
  },
  {
    name: 'whatever ended has succeeded',
    file: `${APPLY}/run.saga.ts`,
    find: "if (seen.state === 'ended' && seen.outcome === 'succeeded') {",
    put: "if (seen.state === 'ended') {",
  },
  {
    name: 'a victim has no notice',
    file: `${APPLY}/preempt.ts`,
    find: 'const deadlineMs = nowMs + graceMs(victim.spec);',
    put: 'const deadlineMs = nowMs;',
  },
  {
    name: 'preempted once too often',
    file: `${APPLY}/preempt.ts`,
    find: 'before >= most',
    put: 'before > most',
  },
  {
    name: 'a cancelled job has no notice',
    file: `${APPLY}/cancel.ts`,
    find: 'deadlineMs: nowMs + graceMs(booking.spec)',
    put: 'deadlineMs: nowMs',
  },
  {
    name: 'a default notice is too short',
    file: `${APPLY}/limits.ts`,
    find: 'const DRAIN_GRACE_MS = 30_000;',
    put: 'const DRAIN_GRACE_MS = 3_000;',
  },
  {
    name: 'nobody waits for what it depends on',
    file: `${APPLY}/tenant-plan.ts`,
    find: 'if (open.length > 0) {',
    put: 'if (open.length > 99) {',
  },
  {
    name: 'an array is as wide as there is room',
    file: `${APPLY}/array-places.ts`,
    find: 'if (array.under.size < maxParallel) return undefined;',
    put: 'if (array.under.size < 99 * maxParallel) return undefined;',
  },
  {
    name: 'after a restart an array is wider',
    file: `${APPLY}/tenant-plan.ts`,
    find: 'for (const other of this.#places.narrow(booking, this.#offered)) this.#withdraw(other);',
    put: '',
  },
  {
    name: 'a place that is free in an array is not given on',
    file: `${APPLY}/array-places.ts`,
    find: 'if (offer(next)) break;',
    put: '',
  },
  {
    name: 'a gang is billed as one node',
    file: `${APPLY}/asks.ts`,
    find: 'gpuMilli: String(spec.gpuMilli * nodes),',
    put: 'gpuMilli: String(spec.gpuMilli),',
  },
  {
    name: 'a longer lease that is refused is not given back',
    file: `${APPLY}/extend.saga.ts`,
    find: 'const voids = [extensionPendingId(booking, state.attempt, open.n)];',
    put: 'const voids: string[] = [];',
  },
  {
    name: 'a longer lease on its way stays held when its job ends',
    file: `${APPLY}/release.saga.ts`,
    find: '[...settled, reverse(extensionHoldId(bookingId, state.attempt, open.n))]',
    put: 'settled',
  },
  {
    name: 'a second extension costs as if there were no first',
    file: `${APPLY}/extension-money.ts`,
    find: 'BigInt(spec.leaseMs + extendedMs(of) + byMs)',
    put: 'BigInt(spec.leaseMs + byMs)',
    rare: true,
  },
  {
    name: 'a granted extension gains no time',
    file: 'core/booking.ts',
    find: 'leaseEndsAtMs: current.leaseEndsAtMs + open.byMs,',
    put: '',
  },
  {
    name: 'a granted extension is lost when the job goes again',
    file: 'core/booking.ts',
    find: 'const carriedMs = extendedMs(current);',
    put: 'const carriedMs: number = 0;',
  },
  {
    name: 'each hold of a longer lease is settled with all that was used',
    file: `${APPLY}/extension-money.ts`,
    find: '    left -= part;\n',
    put: '',
  },
  {
    name: 'orphans are left alone',
    file: 'scheduler/reconcile/sweep.ts',
    find: 'await provider.release(orphan, AbortSignal.timeout(PROVIDER_TIMEOUT_MS));',
    put: '',
  },
  {
    name: 'strangers are released',
    file: 'scheduler/reconcile/sweep.ts',
    find: 'provider.list(ctx.tag,',
    put: "provider.list('somebody-else',",
  },
  {
    name: 'what runs is taken for an orphan',
    file: 'scheduler/reconcile/plan.ts',
    find: 'return state === undefined || !holdsQuota(state);',
    put: "return state === undefined || state === 'applied';",
  },
  {
    name: 'an attempt is not counted',
    file: 'core/booking.ts',
    find: 'attempt: current.attempt + 1,',
    put: 'attempt: current.attempt,',
  },
  {
    name: 'every end is a good one',
    file: 'core/booking.ts',
    find: 'return { state: current.outcome, attempt: current.attempt, reason: current.reason };',
    put: "return { state: 'released', attempt: current.attempt, reason: current.reason };",
  },
  {
    name: 'what is held is reserved all the same',
    file: 'core/booking.ts',
    find: 'if (isPlanned && current.held !== undefined) return undefined;',
    put: '',
  },
  {
    name: 'the ledger knows no limit',
    file: 'ledger/quota/plan.ts',
    find: 'return excess > 0n ? excess : 0n;',
    put: 'return 0n;',
  },
  {
    name: 'a resolution leaves one side pending',
    file: 'ledger/quota/plan.ts',
    find: 'debitsPending: debit.debitsPending - pending.amount,',
    put: '',
  },
  {
    name: 'who refused is asked again at once',
    file: `${APPLY}/tenant-plan.ts`,
    find: 'return (state.passedOver ?? []).filter(({ untilMs }) => untilMs > this.#nowMs);',
    put: 'return [];',
  },
];
