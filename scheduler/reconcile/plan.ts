import { holdsQuota, type StateName } from '../../core/booking.ts';
import type { Owned } from '../../providers/provider.ts';
import { isMassDisappearance } from './disappearance.ts';

/** An attempt that a live booking owns at this provider. */
export interface OwnedAttempt {
  readonly key: string;
  readonly state: StateName;
}

export interface SweepPlan {
  /** Live at the provider, owned by no live booking, seen so in two sweeps: released. */
  readonly orphans: readonly string[];
  /** Seen for the first time; the next sweep decides. */
  readonly suspects: readonly string[];
  /** True where so much disappeared at once that the provider's own list is what is in doubt: nothing is reclaimed. */
  readonly halted: boolean;
}

/**
 * What to do about a provider's list, given what should be there and what looked orphaned last time. Pure. A list may lag or be
 * torn, so an orphan must show in two consecutive sweeps, and a list that lost a fifth of what runs is not believed at all.
 */
export function planSweep(
  listed: readonly Owned[],
  owned: readonly OwnedAttempt[],
  suspectsBefore: ReadonlySet<string>,
): SweepPlan {
  const expected = new Map(owned.map((attempt) => [attempt.key, attempt.state]));
  const live = listed.filter((resource) => resource.live);
  const present = new Set(listed.map((resource) => resource.key));
  const running = owned.filter((attempt) => attempt.state === 'applied' || attempt.state === 'draining');
  const missing = running.filter((attempt) => !present.has(attempt.key)).length;
  const halted = isMassDisappearance(missing, running.length);
  const strangers = live
    .map((resource) => resource.key)
    .filter((key) => {
      const state = expected.get(key);
      return state === undefined || !holdsQuota(state);
    });
  if (halted) return { orphans: [], suspects: strangers, halted };
  return {
    orphans: strangers.filter((key) => suspectsBefore.has(key)),
    suspects: strangers.filter((key) => !suspectsBefore.has(key)),
    halted,
  };
}
