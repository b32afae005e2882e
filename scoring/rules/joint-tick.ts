import type { Decision } from './decision.ts';
import { compareText } from './pane-table.ts';
import { decideTick, type TickInput, type TickOutcome } from './promotion.ts';

/** What all versions of a suite that are kept say at one tick. */
export interface JointOutcome {
  /** One an input, in their order. */
  readonly outcomes: readonly TickOutcome[];
  /** At most one a tick, and the version (place in the inputs) that decides it. */
  readonly decided: { readonly by: number; readonly decision: Decision } | null;
}

/**
 * Decides one tick of a suite of which one or two versions are kept. A contest is decided by one version, the one that
 * decides about the challenger, with both arms scored and counted under that version; the incumbent's demotion by the version
 * that decides about the incumbent. The versions share one seat, so one decision a tick, by the rule of decideTick: a
 * demotion goes before any promotion, of two promotions the greater composite wins, then the model id by code point.
 * The inputs' `decidesFor` must not overlap. Source of one version's rule: docs/scoring.md, Promotion and demotion.
 */
export function decideJointly(inputs: readonly TickInput[]): JointOutcome {
  const outcomes = inputs.map(decideTick);
  let decided: JointOutcome['decided'] = null;
  for (const [by, { decision }] of outcomes.entries()) {
    if (decision !== null && (decided === null || comesBefore(decision, decided.decision))) decided = { by, decision };
  }
  return { outcomes, decided };
}

function comesBefore(a: Decision, b: Decision): boolean {
  if (a.action !== b.action) return a.action === 'demotion';
  const greater = (a.evidence.composite ?? 0) - (b.evidence.composite ?? 0);
  return greater > 0 || (greater === 0 && compareText(a.model, b.model) < 0);
}
