import type { Quota } from './bounds.ts';
import { LimitJudge } from './judge.ts';
import { type Generator, queuesOf } from './kueue-generators.ts';
import type { Judge } from './simulate.ts';

export function quotasOf({ nominal, borrowingLimit, ...generator }: Generator): readonly Quota[] {
  return queuesOf({ nominal, borrowingLimit, ...generator }).map(({ name, cohort }) => ({
    queue: name,
    root: cohort,
    nominalMilli: nominal * 1000,
    borrowMilli: borrowingLimit * 1000,
  }));
}

/** No cohort above the sum of its queues' nominal quota, no queue above its own and its borrowing limit. */
export function judgeOf(generator: Generator): Judge {
  const limits = new Map<string, number>();
  for (const { queue, root, nominalMilli, borrowMilli } of quotasOf(generator)) {
    limits.set(root, (limits.get(root) ?? 0) + nominalMilli);
    limits.set(queue, nominalMilli + borrowMilli);
  }
  return new LimitJudge(limits, ({ work }) => [work.root, work.queue]);
}
