import { addEvidence, type EvidenceSums, NO_EVIDENCE, watchCounts } from '../rules/evidence.ts';
import type { GuardrailCounts } from '../rules/guardrail.ts';
import type { WatchState } from '../rules/promotion.ts';

/** One report's evidence: an entry a watched metric it carries. */
export type ReportEvidence = readonly { readonly metric: string; readonly sums: EvidenceSums }[];

/**
 * A watch with what it counted. Online the sums are rows by tick; here a tick is decided before any report behind it is
 * counted, so that the plain sums are those up to the tick.
 */
export class Watch {
  #state: WatchState;
  readonly #sums = new Map<string, EvidenceSums>();
  readonly #guardrails = new Map<string, GuardrailCounts>();

  constructor(state: WatchState) {
    this.#state = state;
  }

  get state(): WatchState {
    return this.#state;
  }

  counts(observedAtMs: number): boolean {
    return watchCounts(this.#state.startMs, observedAtMs);
  }

  add(evidence: ReportEvidence, tickMs: number): void {
    for (const { metric, sums } of evidence) {
      this.#sums.set(metric, addEvidence(this.sums(metric), sums));
      // A late report of a tick before the restart is not among those counted since.
      if (tickMs <= (this.#restartOf(metric) ?? Number.NEGATIVE_INFINITY)) continue;
      const { beyond, within } = this.#guardrails.get(metric) ?? { beyond: 0, within: 0 };
      this.#guardrails.set(metric, { beyond: beyond + sums.beyond, within: within + sums.n - sums.beyond });
    }
  }

  sums(metric: string): EvidenceSums {
    return this.#sums.get(metric) ?? NO_EVIDENCE;
  }

  get guardrails(): ReadonlyMap<string, GuardrailCounts> {
    return this.#guardrails;
  }

  /** Where the tick that was decided leaves it: a guardrail that was restarted counts from nothing. */
  become(state: WatchState): void {
    for (const { metric, restartTickMs } of state.guardrails) {
      if (restartTickMs !== this.#restartOf(metric)) this.#guardrails.delete(metric);
    }
    this.#state = state;
  }

  #restartOf(metric: string): number | null {
    return this.#state.guardrails.find((one) => one.metric === metric)?.restartTickMs ?? null;
  }
}
