import { assert } from '../../core/assert.ts';
import { isEnded, type PassedOver, type Placement, type Reason, type StateName } from '../../core/booking.ts';
import { machineId } from '../../pools/machine-states.ts';
import type { PendingInput, RunningInput } from '../../pools/planner-input.ts';
import { flavourId, type PoolFacts } from '../../pools/pool-facts.ts';
import type { Admission, Explanation, Preempted, Waiting } from '../admission/decision.ts';
import type { PlannerPort } from '../admission/planner-port.ts';
import { ArrayPlaces } from './array-places.ts';
import { pendingOf, placementOf, runningOf } from './asks.ts';
import type { Booking } from './booking-store.ts';
import { moneyPlacement } from './money-alone.ts';
import { deadlineReason, heldReason, infeasibleReason, passedOverReason } from './wait-reasons.ts';

/** A booking with what it depends on, as it stands. */
export interface LiveBooking {
  readonly booking: Booking;
  readonly needs: ReadonlyMap<string, StateName>;
}

/** What the engine has to carry out of one look at a tenant's queue. */
export interface TenantDecisions {
  readonly admitted: readonly { readonly booking: Booking; readonly placement: Placement }[];
  readonly preempted: readonly { readonly victim: Booking; readonly decision: Preempted }[];
  readonly refused: readonly {
    readonly booking: Booking;
    readonly type: 'declare_infeasible' | 'reject' | 'expire';
    readonly reason: Reason;
  }[];
  readonly waiting: readonly { readonly booking: Booking; readonly waiting: Waiting }[];
  /** What runs in a pool, or on a machine of it, that is being drained. `machine`: it alone is left; null: the whole pool. */
  readonly leaving: readonly { readonly booking: Booking; readonly pool: string; readonly machine: string | null }[];
}

/** Cycles in one look; each admits at most one head a division, and the next look goes on. */
const MAX_CYCLES = 1_000;

/**
 * The planner of one tenant with all its live bookings: who is offered to the planner, and who is kept from it by a hold, a job
 * it depends on, or the width of its array. No I/O; the same is built by the engine, which follows every change, and by `merit why`, which
 * builds it anew.
 */
export class TenantPlan {
  readonly #planner: PlannerPort;
  readonly #live = new Map<string, LiveBooking>();
  readonly #notBefore = new Map<string, number>();
  readonly #waiting = new Set<string>();
  /** Those of money alone that nothing keeps back: the ledger alone knows whether there is enough. */
  readonly #money = new Set<string>();
  readonly #offered = new Set<string>();
  readonly #placed = new Set<string>();
  readonly #dependents = new Map<string, Set<string>>();
  /** Those with a deadline or a dependency, which end without a planner. */
  readonly #ruled = new Set<string>();
  readonly #places = new ArrayPlaces();
  readonly #owed = new Map<string, Preempted>();
  /** Bookings that are not offered everywhere, since a provider refused them there, and until when. */
  readonly #narrowed = new Map<string, number>();
  #facts: PoolFacts;
  /** Of these facts, once somebody asked. */
  #open: ReturnType<typeof openPlaces> | undefined;
  #nowMs: number;

  constructor(facts: PoolFacts, planner: PlannerPort, nowMs = 0) {
    this.#facts = facts;
    this.#planner = planner;
    this.#nowMs = nowMs;
  }

  get facts(): PoolFacts {
    return this.#facts;
  }

  *bookings(): Iterable<Booking> {
    for (const { booking } of this.#live.values()) yield booking;
  }

  get isEmpty(): boolean {
    return this.#live.size === 0;
  }

  /** Bookings that wait, offered or not. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Nothing starts there any more: the pool or a machine of it was cordoned, its provider is away, or it is declared no more. */
  isClosed({ spec }: Booking, { pool, flavour, machines = [] }: Placement): boolean {
    if (spec.money !== undefined) return false;
    this.#open ??= openPlaces(this.#facts);
    const at = flavourId(pool, flavour);
    return !this.#open.flavours.has(at) || machines.some(({ node }) => this.#open?.cordoned.has(machineId(at, node)));
  }

  /** Jobs that a pool's provider is thought to run. */
  runningIn(pool: string): number {
    let count = 0;
    for (const id of this.#placed) {
      const { state } = this.#get(id).booking;
      if ((state.state === 'applied' || state.state === 'draining') && state.placement.pool === pool) count++;
    }
    return count;
  }

  /** Jobs that somebody waits for, as far as is known here. */
  *awaited(): Iterable<string> {
    for (const id of this.#ruled) for (const [need, state] of this.#get(id).needs) if (!isEnded(state)) yield need;
  }

  booking(id: string): Booking | undefined {
    return this.#live.get(id)?.booking;
  }

  /** Pools as they are now: where more than money changed, every waiting booking is offered anew. */
  setFacts(facts: PoolFacts): void {
    const before = this.#facts;
    this.#facts = facts;
    this.#open = undefined;
    if (withoutMoney(before) === withoutMoney(facts)) {
      for (const division of facts.config.divisions) {
        const old = before.config.divisions.find((one) => one.name === division.name)?.budgets;
        if (jsonOf(old) === jsonOf(division.budgets)) continue;
        for (const budget of division.budgets) this.#planner.setBudget(division.name, budget);
      }
      return;
    }
    this.#planner.setConfig(facts.config);
    for (const id of [...this.#offered]) this.#withdraw(id);
    for (const live of this.#live.values()) this.#offer(live);
  }

  /** A booking as it stands now; an ended one is forgotten. `notBeforeMs`: it is not tried again before then. */
  put(live: LiveBooking, notBeforeMs = 0): void {
    const { booking } = live;
    const id = booking.bookingId;
    if (isEnded(booking.state.state)) {
      this.#forget(id, booking.state.state);
      return;
    }
    if (notBeforeMs > 0) this.#notBefore.set(id, notBeforeMs);
    else this.#notBefore.delete(id);
    const before = this.#live.get(id);
    const needs = before === undefined ? live.needs : laterOf(before.needs, live.needs);
    const now = { booking, needs };
    this.#live.set(id, now);
    if (booking.state.state === 'waiting') this.#waiting.add(id);
    else this.#waiting.delete(id);
    if (needs.size > 0 || booking.spec.deadlineMs !== undefined) this.#ruled.add(id);
    for (const need of needs.keys()) this.#dependentsOf(need).add(id);
    const running = this.#leaving(runningOf(booking));
    this.#withdraw(id);
    if (running === undefined) {
      if (this.#placed.delete(id)) this.#planner.removeRunning(id);
      this.#offer(now);
    } else {
      if (this.#placed.has(id)) this.#planner.updateRunning(running);
      else this.#planner.addRunning(running);
      this.#placed.add(id);
      this.#places.take(booking);
      for (const other of this.#places.narrow(booking, this.#offered)) this.#withdraw(other);
    }
  }

  /** Flags or reasons of a booking changed, and nothing else of it. */
  noted(booking: Booking): void {
    const live = this.#live.get(booking.bookingId);
    if (live?.booking.version === booking.version) this.#live.set(booking.bookingId, { ...live, booking });
  }

  /** A victim whose notice is still to be committed; it is owed until the victim is seen to leave. */
  owe(preemption: TenantDecisions['preempted'][number]): void {
    this.#owed.set(preemption.victim.bookingId, preemption.decision);
  }

  owed(): TenantDecisions['preempted'] {
    return [...this.#owed].flatMap(([id, decision]) => {
      const victim = this.#live.get(id)?.booking;
      return victim === undefined ? [] : [{ victim, decision }];
    });
  }

  /** What to do now. What it admits is charged at once; the caller puts each booking again as it then stands. */
  decide(nowMs: number): TenantDecisions {
    const admitted: { booking: Booking; placement: Placement }[] = [];
    const preempted: { victim: Booking; decision: Preempted }[] = [];
    const waiting = new Map<string, { booking: Booking; waiting: Waiting }>();
    this.#widen(nowMs);
    const refused = [...this.#refuseByRule(nowMs)];
    admitted.push(...this.#admitMoney(nowMs));
    for (let i = 0; i < MAX_CYCLES; i++) {
      const result = this.#planner.cycle(nowMs);
      for (const admission of result.admitted) {
        waiting.delete(admission.id);
        admitted.push(this.#admitted(admission));
      }
      for (const decision of result.preempted) {
        const victim = this.#live.get(decision.id)?.booking;
        if (victim !== undefined) preempted.push({ victim, decision });
      }
      for (const one of result.infeasible) {
        this.#offered.delete(one.id);
        const { booking } = this.#get(one.id);
        if (this.#narrowed.has(one.id)) {
          this.#planner.addPending(this.#whole(booking));
          this.#offered.add(one.id);
          continue;
        }
        refused.push({ booking, type: 'declare_infeasible', reason: infeasibleReason(booking.spec, this.#facts, one) });
      }
      for (const one of result.waiting) waiting.set(one.id, { booking: this.#get(one.id).booking, waiting: one });
      if (!result.again) break;
    }
    return { admitted, preempted, refused, waiting: [...waiting.values()], leaving: this.#leavingPools() };
  }

  /** All that a waiting booking waits for: what keeps it from the planner, or what the planner says. */
  explain(id: string, nowMs: number): { readonly gates: readonly Reason[]; readonly planned: Explanation | undefined } {
    const live = this.#live.get(id);
    if (live === undefined) return { gates: [], planned: undefined };
    const gates = [...this.#gates(live), ...this.#passedOver(live.booking).map(passedOverReason)];
    return {
      gates,
      planned: this.#offered.has(id) || this.#placed.has(id) ? this.#planner.explain(id, nowMs) : undefined,
    };
  }

  /** When something may be decided though nobody told anything; undefined: only after a change. */
  nextWakeMs(nowMs: number): number | undefined {
    let next = this.#planner.nextWakeMs(nowMs) ?? undefined;
    for (const untilMs of this.#narrowed.values()) next = Math.min(next ?? untilMs, untilMs);
    for (const id of this.#money) {
      const atMs = this.#notBeforeOf(this.#get(id).booking);
      next = Math.min(next ?? atMs, atMs);
    }
    for (const id of this.#ruled) {
      const { spec, state } = this.#get(id).booking;
      if (spec.deadlineMs !== undefined && state.state === 'waiting')
        next = Math.min(next ?? spec.deadlineMs, spec.deadlineMs);
    }
    return next;
  }

  /** A victim whose notice is not committed yet is leaving all the same. */
  #leaving(running: RunningInput | undefined): RunningInput | undefined {
    const decision = running === undefined ? undefined : this.#owed.get(running.id);
    if (running === undefined || decision === undefined) return running;
    if (running.draining !== null) {
      this.#owed.delete(running.id);
      return running;
    }
    return { ...running, draining: { for: decision.for, untilMs: null } };
  }

  #leavingPools(): TenantDecisions['leaving'] {
    const { draining, drainingMachines } = this.#facts;
    if (draining.size === 0 && drainingMachines.size === 0) return [];
    return [...this.#placed].flatMap((id): TenantDecisions['leaving'] => {
      const { booking } = this.#get(id);
      const { state } = booking;
      if (state.state !== 'applied') return [];
      const { pool, machines = [] } = state.placement;
      if (draining.has(pool)) return [{ booking, pool, machine: null }];
      const machine = machines.find(({ node }) => drainingMachines.has(machineId(pool, node)))?.node;
      return machine === undefined ? [] : [{ booking, pool, machine }];
    });
  }

  #get(id: string): LiveBooking {
    const live = this.#live.get(id);
    assert(live !== undefined, `the planner names ${id}, which it was given`);
    return live;
  }

  #admitted({ id, podSets, replicas, held }: Admission): { booking: Booking; placement: Placement } {
    const { booking } = this.#get(id);
    const flavour = this.#facts.config.flavours.find((one) => one.id === podSets[0]?.flavour);
    assert(flavour !== undefined, 'an admission names a flavour of the configuration');
    this.#offered.delete(id);
    this.#narrowed.delete(id);
    this.#placed.add(id);
    const money = held ?? { currency: flavour.price?.currency ?? 'USD', minor: 0n };
    return { booking, placement: placementOf(booking, flavour, replicas, money, podSets[0]?.nodes ?? null) };
  }

  /** Bookings that can no longer start whatever the planner thinks. */
  *#refuseByRule(nowMs: number): Iterable<TenantDecisions['refused'][number]> {
    for (const id of this.#ruled) {
      const { booking, needs } = this.#get(id);
      if (booking.state.state !== 'waiting') continue;
      const failed = [...needs].find(([, state]) => isEnded(state) && state !== 'released');
      if (failed !== undefined) {
        const text = `job ${failed[0]}, which it depends on, ended ${failed[1]}`;
        yield { booking, type: 'reject', reason: { code: 'dependency_failed', text, mend: 'submit both again' } };
      } else if (booking.spec.deadlineMs !== undefined && nowMs >= booking.spec.deadlineMs) {
        yield { booking, type: 'expire', reason: deadlineReason(booking.spec.deadlineMs) };
      }
    }
  }

  *#admitMoney(nowMs: number): Iterable<TenantDecisions['admitted'][number]> {
    for (const id of this.#money) {
      const { booking } = this.#get(id);
      const { money } = booking.spec;
      if (money === undefined || this.#notBeforeOf(booking) > nowMs) continue;
      this.#money.delete(id);
      yield { booking, placement: moneyPlacement(money) };
    }
  }

  #notBeforeOf({ bookingId, state }: Booking): number {
    const own = state.state === 'waiting' ? state.notBeforeMs : 0;
    return Math.max(own, this.#notBefore.get(bookingId) ?? 0);
  }

  #offer({ booking, needs }: LiveBooking): void {
    const id = booking.bookingId;
    this.#money.delete(id);
    // One that was admitted is on its way to be reserved, whatever its stored state still says.
    if (booking.state.state !== 'waiting' || this.#placed.has(id) || this.#gates({ booking, needs }).length > 0) return;
    if (booking.spec.money !== undefined) {
      this.#money.add(id);
      return;
    }
    this.#planner.addPending(this.#pendingOf(booking));
    this.#offered.add(id);
    this.#places.take(booking);
  }

  #pendingOf(booking: Booking): PendingInput {
    const pending = pendingOf(booking, this.#facts, this.#notBeforeOf(booking));
    const passedOver = this.#passedOver(booking);
    if (passedOver.length === 0) return pending;
    const places = new Set(passedOver.map(({ place }) => place));
    const others = (pending.flavours ?? []).filter((flavour) => !places.has(flavour));
    const untilMs = Math.min(...passedOver.map((one) => one.untilMs));
    this.#narrowed.set(booking.bookingId, untilMs);
    if (others.length > 0) return { ...pending, flavours: others };
    const first = passedOver.filter((one) => one.untilMs === untilMs).map(({ place }) => place);
    return { ...pending, flavours: first, notBeforeMs: Math.max(pending.notBeforeMs, untilMs) };
  }

  /** Offered wherever it may run once a place that refused it is tried again: elsewhere it could never start. */
  #whole(booking: Booking): PendingInput {
    const untilMs = this.#narrowed.get(booking.bookingId) ?? 0;
    this.#narrowed.delete(booking.bookingId);
    return pendingOf(booking, this.#facts, Math.max(untilMs, this.#notBeforeOf(booking)));
  }

  #passedOver({ state }: Booking): readonly PassedOver[] {
    if (state.state !== 'waiting') return [];
    return (state.passedOver ?? []).filter(({ untilMs }) => untilMs > this.#nowMs);
  }

  /** Whose time at some place has come is offered there again. */
  #widen(nowMs: number): void {
    this.#nowMs = Math.max(this.#nowMs, nowMs);
    for (const [id, untilMs] of [...this.#narrowed]) {
      if (untilMs > this.#nowMs) continue;
      this.#withdraw(id);
      this.#offer(this.#get(id));
    }
  }

  #withdraw(id: string): void {
    this.#narrowed.delete(id);
    if (!this.#offered.delete(id)) return;
    this.#planner.removePending(id);
    const live = this.#live.get(id);
    if (live !== undefined) this.#places.giveBack(live.booking);
  }

  /** What keeps a waiting booking from being offered. Puts it behind its array where that is full. */
  #gates({ booking, needs }: LiveBooking): readonly Reason[] {
    const { state } = booking;
    if (state.state !== 'waiting') return [];
    const reasons: Reason[] = [];
    if (state.held !== undefined) reasons.push(heldReason(state.held));
    const open = [...needs].filter(([, needed]) => needed !== 'released');
    if (open.length > 0) {
      const text = `waits for ${open.map(([need, needed]) => `${need} (${needed})`).join(', ')}`;
      reasons.push({ code: 'dependency', text, mend: 'wait for the jobs it depends on, or cancel it' });
    }
    const width = this.#places.fullAt(booking);
    if (width !== undefined) {
      const text = `${width} tasks of its array are under way, as many as may be`;
      reasons.push({ code: 'array_full', text, mend: 'wait for one of them to end' });
    }
    return reasons;
  }

  #dependentsOf(id: string): Set<string> {
    let dependents = this.#dependents.get(id);
    if (dependents === undefined) {
      dependents = new Set();
      this.#dependents.set(id, dependents);
    }
    return dependents;
  }

  #forget(id: string, end: StateName): void {
    const live = this.#live.get(id);
    this.#withdraw(id);
    if (this.#placed.delete(id)) this.#planner.removeRunning(id);
    this.#live.delete(id);
    this.#waiting.delete(id);
    this.#money.delete(id);
    this.#owed.delete(id);
    this.#ruled.delete(id);
    this.#notBefore.delete(id);
    for (const dependent of this.#dependents.get(id) ?? []) {
      const waits = this.#live.get(dependent);
      if (waits === undefined) continue;
      const told = { booking: waits.booking, needs: new Map([...waits.needs, [id, end]]) };
      this.#live.set(dependent, told);
      if (!this.#offered.has(dependent)) this.#offer(told);
    }
    this.#dependents.delete(id);
    if (live === undefined) return;
    for (const need of live.needs.keys()) this.#dependents.get(need)?.delete(id);
    this.#places.leave(live.booking, (next) => {
      const task = this.#live.get(next);
      if (task !== undefined && !this.#offered.has(next)) this.#offer(task);
      return this.#offered.has(next);
    });
  }
}

/** An end is final, whichever was read later. */
function laterOf(
  before: ReadonlyMap<string, StateName>,
  read: ReadonlyMap<string, StateName>,
): ReadonlyMap<string, StateName> {
  const ended = [...before].filter(([, state]) => isEnded(state));
  return new Map([...before, ...read, ...ended]);
}

function openPlaces({ config }: PoolFacts): {
  readonly flavours: ReadonlySet<string>;
  readonly cordoned: ReadonlySet<string>;
} {
  const open = config.flavours.filter(({ away, cordoned }) => away === null && !cordoned);
  const cordoned = config.nodes.filter((node) => node.cordoned);
  return {
    flavours: new Set(open.map(({ id }) => id)),
    cordoned: new Set(cordoned.map(({ flavour, name }) => machineId(flavour, name))),
  };
}

function jsonOf(value: unknown): string {
  return JSON.stringify(value, (_key, member: unknown) => {
    if (typeof member === 'bigint') return String(member);
    return member instanceof Map ? [...member] : member;
  });
}

function withoutMoney({ config, gpuTypes, offPeak }: PoolFacts): string {
  const divisions = config.divisions.map((division) => ({
    ...division,
    budgets: division.budgets.map((one) => one.currency),
  }));
  return jsonOf([{ ...config, divisions }, gpuTypes, offPeak]);
}
