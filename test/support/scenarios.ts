import { planDocument } from '../../scheduler/admission/plan-output.ts';
import { planScenario } from '../../scheduler/admission/plan-run.ts';
import { parseScenario } from '../../scheduler/admission/scenario.ts';

/** Scenarios written short: what a test says nothing about is the same in all of them. */

export const NOW = '2026-11-23T10:00:00Z';

export type Doc = Readonly<Record<string, unknown>>;

/** `at(-60)`: a minute before NOW. */
export function at(seconds: number): string {
  return new Date(Date.parse(NOW) + seconds * 1000).toISOString();
}

export function gpu(nominal: number, more: Doc = {}, flavour = 'od'): Doc {
  return { [flavour]: { gpu: { nominal, ...more } } };
}

/** Work of one replica. */
export function runs(id: string, division: string, size: number, more: Doc = {}): Doc {
  return { id, division, on: 'od', resources: { gpu: size }, createdAt: at(-600), startedAt: at(-600), ...more };
}

export function asks(id: string, division: string, size: number, more: Doc = {}): Doc {
  return { id, division, resources: { gpu: size }, createdAt: at(-60), ...more };
}

export function plan(scenario: Doc, untilStable = false) {
  const file = { apiVersion: 'merit/v1', kind: 'Scenario', now: NOW, ...scenario };
  return planDocument(planScenario(parseScenario(file), untilStable), untilStable);
}

/** The plan in one line each: `p1@od*4`, `r1>p1`, `p2:quota+no_victims`. */
export function told(scenario: Doc, untilStable = false) {
  const { admitted, preempted, waiting } = plan(scenario, untilStable);
  return {
    admitted: admitted.map(({ id, flavour, replicas }) => `${id}@${flavour}*${replicas}`),
    preempted: preempted
      .map(({ id, for: whom, how, keptReplicas }) => `${id}>${whom}${how === 'shrink' ? `=${keptReplicas}` : ''}`)
      .sort(),
    waiting: waiting.map(({ id, reasons }) => `${id}:${reasons.map(({ code }) => code).join('+')}`),
  };
}
