import type { Hold, PassedOver, Reason } from '../../core/booking.ts';
import type { JobSpec } from '../../core/job.ts';
import type { PoolFacts } from '../../pools/pool-facts.ts';
import type { ReasonCode, Waiting, WaitReason } from '../admission/decision.ts';
import { flavoursFor } from './asks.ts';

/** What a person can do about each thing that a booking waits for. */
const MENDS: Readonly<Record<ReasonCode, string>> = {
  infeasible: 'ask for less, or name another pool',
  awaiting_drain: 'wait: what makes room for it has had its notice',
  backing_off: 'wait, or cancel it',
  not_head: 'wait: others of its division go first; a higher priority goes before them',
  window_closed: 'wait for the window, or drop the schedule',
  provider_unreachable: 'start or mend the provider; the booking goes on by itself',
  cordoned: 'wait until it is uncordoned, or name another pool',
  max_cost: 'shorten the lease or raise budget.max_cost',
  budget: 'shorten the lease or have the budget raised',
  user_limit: 'wait for your other jobs, or have the limit raised',
  capacity: 'wait, ask for less, or name another pool',
  quota: 'wait, ask for less, or have the quota raised',
  borrow_limit: 'wait, ask for less, or have the borrowing limit raised',
  no_node: 'wait, or ask for less on each node',
  kept_for_head: 'wait: the capacity is kept for who is before it',
  backfill: 'shorten the lease, so that it ends before the next one’s turn',
  outrun: 'wait: it is planned again by itself',
  no_victims: 'wait, or raise its priority',
  far_back: 'wait, or raise its priority',
  guarded: 'wait: what runs is still protected',
  rate_limited: 'wait: the pool preempts no faster',
};

/** A wait reason as bookings keep it. */
export function reasonOf({ code, text }: WaitReason): Reason {
  return { code, text, mend: MENDS[code] };
}

export function heldReason({ by, atMs }: Hold): Reason {
  const text = `held by ${by} since ${new Date(atMs).toISOString()}`;
  return { code: 'held', text, mend: '`merit jobs release` lets it go on' };
}

export function deadlineReason(deadlineMs: number): Reason {
  const text = `it had not started by its deadline, ${new Date(deadlineMs).toISOString()}`;
  return { code: 'deadline_passed', text, mend: 'submit it with a later one' };
}

export function passedOverReason({ place, untilMs, code, times }: PassedOver): Reason {
  const refusals = times === 1 ? 'refused it' : `refused it ${times} times in a row`;
  const text = `${place} ${refusals} (${code}) and is tried again at ${new Date(untilMs).toISOString()}`;
  return { code: 'passed_over', text, mend: 'wait, or name more pools: the others are tried at once, in their order' };
}

/** Reasons that are kept with a booking; the rest is told by `merit why`, which asks the planner anew. */
const MAX_KEPT = 16;

export function reasonsOf(waiting: Waiting): readonly Reason[] {
  return waiting.reasons.slice(0, MAX_KEPT).map(reasonOf);
}

/** All of it as one reason of a booking that can never start; first of all that a pool it names is not there, or has nothing of its kind. */
export function infeasibleReason(spec: JobSpec, facts: PoolFacts, waiting: Waiting): Reason {
  const named = spec.pools.flatMap((pool) => poolReason(spec, facts, pool) ?? []);
  const told = flavoursFor(spec, facts).length === 0 && named.length > 0 ? [] : waiting.reasons.map(reasonOf);
  const all = [...named, ...told];
  const [first] = all;
  const said = all.map((reason) => reason.text).join('; ');
  return {
    code: first?.code ?? 'infeasible',
    text: `can never start: ${said === '' ? 'no pool fits' : said}`,
    mend: first?.mend.replace(/^wait, /, '') ?? MENDS.infeasible,
  };
}

function poolReason(spec: JobSpec, facts: PoolFacts, pool: string): Reason | undefined {
  const flavours = facts.config.flavours.filter((flavour) => flavour.pool === pool);
  if (flavours.length === 0)
    return { code: 'unknown_pool', text: `pool ${pool} does not exist`, mend: 'name a pool from `merit pools ls`' };
  if (flavoursFor({ ...spec, pools: [pool] }, facts).length > 0) return undefined;
  const what = spec.gpuMilli > 0 ? `${spec.gpuType ?? 'GPU'} flavours` : 'CPU-only flavours';
  const kind = spec.useSpot === undefined ? '' : spec.useSpot ? ' on spot' : ' on demand';
  return { code: 'no_such_resource', text: `pool ${pool} has no ${what}${kind}`, mend: 'name another pool' };
}
