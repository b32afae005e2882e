import type { TenantDecisions, TenantPlan } from './tenant-plan.ts';

/** What a booking would have been told of its start. */
export interface EtaSample {
  readonly bookingId: string;
  readonly tenant: string;
  readonly toldAtMs: number;
  /** null: the planner could tell none. */
  readonly etaMs: number | null;
}

/** A start time is worked out for so many bookings at most in so long: it costs more than a look of the planner. */
const MOST_SAMPLES = 4;
const SAMPLE_EVERY_MS = 5_000;

/**
 * Draws the bookings whose start is told and later compared: of those that a look leaves waiting for the first time (nothing is noted of them
 * yet), the first few. What starts at once was told nothing, and is not counted.
 */
export class EtaSampler {
  #nextMs = Number.NEGATIVE_INFINITY;

  draw(plan: TenantPlan, { waiting }: Pick<TenantDecisions, 'waiting'>, nowMs: number): readonly EtaSample[] {
    if (nowMs < this.#nextMs) return [];
    const fresh = waiting
      .filter(
        ({ booking: { state } }) => state.state === 'waiting' && state.attempt === 1 && state.reasons.length === 0,
      )
      .slice(0, MOST_SAMPLES);
    if (fresh.length > 0) this.#nextMs = nowMs + SAMPLE_EVERY_MS;
    return fresh.map(({ booking: { bookingId, tenant } }) => {
      const etaMs = plan.explain(bookingId, nowMs).planned?.etaMs ?? null;
      return { bookingId, tenant, toldAtMs: nowMs, etaMs };
    });
  }
}
