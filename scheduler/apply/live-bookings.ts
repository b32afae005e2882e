import { assert } from '../../core/assert.ts';
import type { Placement } from '../../core/booking.ts';
import type { SigningPolicy } from '../../core/signing-policy.ts';
import { Planner } from '../admission/planner.ts';
import type { Booking, Stamp } from './booking-store.ts';
import type { SagaContext } from './context.ts';
import { type LiveBooking, TenantPlan } from './tenant-plan.ts';

/** Notifications can be lost; this often everything that lives is compared by its stamp. */
const RESCAN_MS = 30_000;
/** How often pools are read again where nothing waits: one may be drained. */
const QUIET_FACTS_MS = 5_000;

interface Tenant {
  readonly plan: TenantPlan;
  factsAtMs: number;
  /** Bookings that came, or changed, after the facts were read. */
  newer: Set<string>;
  /** Of those, what could never start by these facts: it is offered again by the next. */
  readonly doubted: Set<string>;
}

/**
 * Every live booking as Postgres has it, each tenant's under its planner: read once, then followed by what the engine itself commits and by
 * what others are heard to have changed.
 */
export class LiveBookings {
  readonly #ctx: SagaContext;
  readonly #tenants = new Map<string, Tenant>();
  readonly #tenantOf = new Map<string, string>();
  readonly #told = new Set<string>();
  #scannedAtMs = Number.NEGATIVE_INFINITY;

  constructor(ctx: SagaContext) {
    this.#ctx = ctx;
  }

  get(id: string): Booking | undefined {
    return this.#planOf(id)?.booking(id);
  }

  /** This booking changed; without an id, anything may have. */
  tell(id?: string): void {
    if (id === undefined || id === '') this.#scannedAtMs = Number.NEGATIVE_INFINITY;
    else this.#told.add(id);
  }

  /** What our own move led to. */
  put(booking: Booking): void {
    const tenant = this.#tenantWith(booking.bookingId);
    tenant?.newer.add(booking.bookingId);
    tenant?.plan.put({ booking, needs: new Map() });
  }

  /**
   * True: the pools, quotas and budgets that it was judged by are no older than itself. Else they are read before anything is planned again,
   * and it is offered once more: what it needs may have been declared just before it was booked.
   */
  isJudged(booking: Booking): boolean {
    const tenant = this.#tenantWith(booking.bookingId);
    if (tenant === undefined || !tenant.newer.has(booking.bookingId)) return true;
    tenant.factsAtMs = Number.NEGATIVE_INFINITY;
    tenant.doubted.add(booking.bookingId);
    return false;
  }

  /** Only a flag or its reasons changed: nothing for the planner. */
  noted(booking: Booking): void {
    this.#planOf(booking.bookingId)?.noted(booking);
  }

  /** It was admitted where nothing starts any more. */
  isClosed(booking: Booking, placement: Placement): boolean {
    return this.#planOf(booking.bookingId)?.isClosed(booking, placement) ?? false;
  }

  /** A booking that could not be reserved is offered again from `atMs` on. */
  back(id: string, atMs: number): void {
    const plan = this.#planOf(id);
    const booking = plan?.booking(id);
    if (booking !== undefined) plan?.put({ booking, needs: new Map() }, atMs);
  }

  /** Reads what changed; the bookings that did, with those that ended. Of those that are busy nothing is read: their own step tells. */
  async follow(isBusy: (id: string) => boolean): Promise<readonly Booking[]> {
    const nowMs = this.#ctx.clock.now();
    try {
      const changed = await this.#changed(nowMs, isBusy);
      for (const live of changed) {
        const { bookingId, tenant } = live.booking;
        const { plan, newer } = await this.#tenant(tenant, nowMs);
        this.#tenantOf.set(bookingId, tenant);
        newer.add(bookingId);
        plan.put(live);
      }
      return changed.map(({ booking }) => booking);
    } catch (error) {
      // What could not be read, or not be taken up, is found by a scan before anything is planned again.
      this.#scannedAtMs = Number.NEGATIVE_INFINITY;
      throw error;
    }
  }

  async #changed(nowMs: number, isBusy: (id: string) => boolean): Promise<readonly LiveBooking[]> {
    const { desk } = this.#ctx;
    const first = this.#tenants.size === 0 && this.#tenantOf.size === 0;
    if (nowMs - this.#scannedAtMs < RESCAN_MS) {
      const ids = [...this.#told].filter((id) => !isBusy(id));
      for (const id of ids) this.#told.delete(id);
      return desk.byId(ids);
    }
    this.#scannedAtMs = nowMs;
    if (first) return desk.live();
    const stamps = await desk.liveStamps();
    const ids = new Set(this.#told);
    for (const [id, stamp] of stamps) if (!isSame(this.get(id), stamp)) ids.add(id);
    for (const id of this.#tenantOf.keys()) if (!stamps.has(id)) ids.add(id);
    // What is waited for may have come and gone between two scans, without a word of it.
    for (const { plan } of this.#tenants.values())
      for (const need of plan.awaited()) if (!stamps.has(need)) ids.add(need);
    for (const id of this.#tenantOf.keys()) if (this.get(id) === undefined) this.#tenantOf.delete(id);
    for (const id of ids) if (isBusy(id)) this.#told.add(id);
    const free = [...ids].filter((id) => !isBusy(id));
    for (const id of free) this.#told.delete(id);
    return desk.byId(free);
  }

  /** The planners that have anything, reckoning with the pools as they are now. */
  async plans(): Promise<readonly TenantPlan[]> {
    const nowMs = this.#ctx.clock.now();
    const plans: TenantPlan[] = [];
    for (const [name, tenant] of this.#tenants) {
      if (tenant.plan.isEmpty) continue;
      const everyMs = tenant.plan.waiting > 0 ? this.#ctx.planEveryMs : QUIET_FACTS_MS;
      if (nowMs - tenant.factsAtMs >= everyMs) {
        tenant.newer = new Set();
        tenant.plan.setFacts(await this.#loadFacts(name));
        tenant.factsAtMs = nowMs;
        for (const id of tenant.doubted) this.back(id, 0);
        tenant.doubted.clear();
      }
      plans.push(tenant.plan);
    }
    return plans;
  }

  waiting(): number {
    let count = 0;
    for (const { plan } of this.#tenants.values()) count += plan.waiting;
    return count;
  }

  runningIn(tenant: string, pool: string): number {
    return this.#tenants.get(tenant)?.plan.runningIn(pool) ?? 0;
  }

  signingOf(tenant: string): SigningPolicy | undefined {
    return this.#tenants.get(tenant)?.plan.facts.signing;
  }

  nextWakeMs(nowMs: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { plan } of this.#tenants.values())
      if (plan.waiting > 0) next = Math.min(next, plan.nextWakeMs(nowMs) ?? next);
    return next;
  }

  #planOf(id: string): TenantPlan | undefined {
    return this.#tenantWith(id)?.plan;
  }

  #tenantWith(id: string): Tenant | undefined {
    const tenant = this.#tenantOf.get(id);
    return tenant === undefined ? undefined : this.#tenants.get(tenant);
  }

  async #tenant(name: string, nowMs: number): Promise<Tenant> {
    const known = this.#tenants.get(name);
    if (known !== undefined) return known;
    const facts = await this.#loadFacts(name);
    const plan = new TenantPlan(facts, new Planner(facts.config), nowMs);
    const tenant = { plan, factsAtMs: nowMs, newer: new Set<string>(), doubted: new Set<string>() };
    assert(!this.#tenants.has(name), 'one reader follows the bookings');
    this.#tenants.set(name, tenant);
    return tenant;
  }

  #loadFacts(tenant: string) {
    const { desk, clock, providers } = this.#ctx;
    return desk.facts(tenant, clock.now(), (of, pool) => providers.health(of, pool));
  }
}

function isSame(known: Booking | undefined, { version, updatedAtMs }: Stamp): boolean {
  return known?.version === version && known.updatedAtMs === updatedAtMs;
}
