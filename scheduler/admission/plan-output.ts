import { currencyScale } from '../../core/currency.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Admission, SmallestChange, Waiting, WaitReason } from './decision.ts';
import type { Plan } from './plan-run.ts';

/** A plan as a document: quantities are decimal numbers, money too. */
export function planDocument(plan: Plan, untilStable: boolean) {
  return {
    admitted: plan.admitted.map(admission),
    preempted: plan.preempted.map(({ id, for: whom, how, keptReplicas }) => ({ id, for: whom, how, keptReplicas })),
    waiting: plan.waiting.map(waiting),
    ...(untilStable ? { cycles: plan.cycles } : {}),
    ...(plan.cycle === null ? {} : { cycle: plan.cycle }),
  };
}

function admission({ id, podSets, replicas, borrowedMilli }: Admission) {
  const flavours = new Set(podSets.map(({ flavour }) => flavour));
  const nodes = podSets.flatMap((podSet) => podSet.nodes ?? []);
  return {
    id,
    flavour: [...flavours].join(','),
    replicas,
    borrowed: Object.fromEntries(Object.entries(borrowedMilli).map(([resource, milli]) => [resource, milli / 1000])),
    ...(podSets.length > 1 ? { podSets: podSets.map(({ flavour, count }) => ({ flavour, count })) } : {}),
    ...(nodes.length > 0 ? { nodes } : {}),
  };
}

function waiting({ id, reasons, etaMs, smallestChange }: Waiting) {
  return {
    id,
    reasons: reasons.map(reason),
    eta: etaMs === null ? null : formatRfc3339(etaMs),
    smallestChange: smallestChange === null ? null : change(smallestChange),
  };
}

function reason({ code, flavour, resource, shortfall, holders }: WaitReason) {
  return { code, flavour, resource, shortfall: amount(shortfall, resource), holders };
}

function change({ kind, flavour, resource, amount: by, node, text }: SmallestChange) {
  const value = kind === 'fewer_replicas' ? Number(by) : amount(by, resource);
  return { kind, flavour, resource, amount: value, node, text };
}

/** Milli-units of a resource, or minor units of a currency. */
function amount(value: number | bigint | null, unit: string | null): number | null {
  if (value === null) return null;
  return typeof value === 'bigint' ? Number(value) / 10 ** currencyScale(unit ?? '') : value / 1000;
}

export type PlanDocument = ReturnType<typeof planDocument>;
