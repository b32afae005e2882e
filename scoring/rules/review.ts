import { parseRfc3339 } from '../../core/rfc3339.ts';
import type { RecordedAction, RecordedEvidence } from './decision.ts';

export interface Decided {
  readonly action: RecordedAction;
  readonly evidence: RecordedEvidence;
}

/** A tick whose composite is now on the other side of the threshold that the decision rests on. */
export interface FlippedTick {
  readonly tick: string;
  readonly was: number;
  readonly is: number | null;
  readonly threshold: number;
}

/**
 * Would the composites as they are now still have counted? A promotion rests on each of its ticks being at or above θ_up,
 * a demotion for low scores on each being below θ_dn; a guardrail's breach rests on counts, which a composite cannot flip.
 * Source: docs/scoring.md, Promotion and demotion.
 */
export function flippedTicks(decided: Decided, now: ReadonlyMap<number, number | null>): readonly FlippedTick[] {
  const { action, evidence } = decided;
  if (!('promoteAbove' in evidence) && evidence.cause === 'guardrail') return [];
  const threshold = 'promoteAbove' in evidence ? evidence.promoteAbove : evidence.demoteBelow;
  return Object.entries(evidence.compositeByTick).flatMap(([tick, was]) => {
    const is = now.get(parseRfc3339(tick)!);
    if (is === undefined) return [];
    const holds = is !== null && (action === 'promote' ? is >= threshold : is < threshold);
    return holds ? [] : [{ tick, was, is, threshold }];
  });
}
