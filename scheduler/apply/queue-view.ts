import type { Clock } from '../../platform/clock.ts';
import type { Database } from '../../platform/postgres.ts';
import { loadConfig } from '../../pools/load-config.ts';
import type { AskHealth } from '../../pools/pool-health.ts';
import { Planner } from '../admission/planner.ts';
import { dependencyStates, liveBookings } from './booking-store.ts';
import { TenantPlan } from './tenant-plan.ts';

/** An answer about a queue may be this old. */
const VIEW_MS = 1_000;
/** Tenants whose queues are kept at a time. */
const MAX_VIEWS = 16;

export interface QueueViewPorts {
  readonly db: Database;
  readonly clock: Clock;
  readonly providers: { readonly health: AskHealth };
}

/**
 * A tenant's queue as the engine's planner would see it, built from what is committed: `merit why`, plans before submitting, and start
 * times come from it, in whatever process they are asked. Those who ask within a second share one.
 */
export class QueueView {
  readonly #ports: QueueViewPorts;
  readonly #kept = new Map<string, { readonly atMs: number; readonly plan: Promise<TenantPlan> }>();

  constructor(ports: QueueViewPorts) {
    this.#ports = ports;
  }

  /** To be read only: it is shared. */
  of(tenant: string): Promise<TenantPlan> {
    const nowMs = this.#ports.clock.now();
    const kept = this.#kept.get(tenant);
    if (kept !== undefined && nowMs - kept.atMs < VIEW_MS) return kept.plan;
    const plan = this.fresh(tenant);
    this.#kept.delete(tenant);
    this.#kept.set(tenant, { atMs: nowMs, plan });
    plan.catch(() => this.#kept.delete(tenant));
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= MAX_VIEWS) break;
      this.#kept.delete(oldest);
    }
    return plan;
  }

  /** One that nobody else has, to be tried things out on. */
  async fresh(tenant: string): Promise<TenantPlan> {
    const { db, clock, providers } = this.#ports;
    const facts = await loadConfig(db, tenant, clock.now(), (of, pool) => providers.health(of, pool));
    const { bookings, needs } = await db.asEngine(async (tx) => {
      const live = await liveBookings(tx, tenant);
      return { bookings: live, needs: await dependencyStates(tx, live) };
    });
    const plan = new TenantPlan(facts, new Planner(facts.config), clock.now());
    for (const booking of bookings) plan.put({ booking, needs: needs.get(booking.bookingId) ?? new Map() });
    return plan;
  }
}
