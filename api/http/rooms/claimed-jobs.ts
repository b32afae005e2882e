import { RefusedInput, refuse } from '../../../core/refusal.ts';
import type { Booking } from '../../../scheduler/apply/booking-store.ts';
import { CLAIM_ENV } from '../../../scoring/batch/handed-shard.ts';
import type { ShareOfJob } from '../../../scoring/batch/merge-shares.ts';

type Booked = Pick<Booking, 'requester' | 'spec'>;

export interface ClaimedShare {
  readonly share: Pick<ShareOfJob, 'job' | 'head'>;
  /** undefined: the tenant has no such job. */
  readonly booking: Booked | undefined;
}

/**
 * Holds the jobs of a merge to how they were booked: for the claim, by whoever asks for the merge, as one array with one code, and each for the share
 * that it left. So nobody's own job takes the place of one, and what it runs is as good as the word of who asks. Throws RefusedInput.
 */
export function requireClaimed(claim: string, principal: string, shares: readonly ClaimedShare[]): void {
  const first = shares[0]?.booking?.spec;
  for (const { share, booking } of shares) {
    const problem = problemOf(booking, share.head.share, { claim, principal, first });
    if (problem === undefined) continue;
    const mend = 'name those that `merit recompute` booked for this claim, in order, as who booked them';
    throw new RefusedInput([refuse('not_claimed', 'jobs', `name ${share.job}, which ${problem}`, mend)]);
  }
}

function problemOf(
  booking: Booked | undefined,
  { index, of }: ShareOfJob['head']['share'],
  asked: { readonly claim: string; readonly principal: string; readonly first: Booked['spec'] | undefined },
): string | undefined {
  const spec = booking?.spec;
  if (booking === undefined || spec?.envs[CLAIM_ENV] !== asked.claim) return 'was not booked for the claim';
  if (booking.requester !== asked.principal) return 'was booked by somebody else';
  const [task, first] = [spec.array, asked.first?.array];
  if (task?.id === undefined || task.id !== first?.id) return 'is of another array';
  if (spec.workdir === null || spec.workdir !== asked.first?.workdir || spec.run !== asked.first.run)
    return 'ran something else';
  const [at, firstAt] = [task.index ?? 0, first.index ?? 0];
  const isItsOwn = task.count % of === 0 && at % of === index && Math.floor(at / of) === Math.floor(firstAt / of);
  return isItsOwn ? undefined : 'left the share of another';
}
