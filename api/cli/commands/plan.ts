import { planDocument } from '../../../scheduler/admission/plan-output.ts';
import { type Plan, planScenario } from '../../../scheduler/admission/plan-run.ts';
import { parseScenario } from '../../../scheduler/admission/scenario.ts';
import { EXIT } from '../exit.ts';
import { readDescription } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { type Column, type Row, showOne, table } from '../render.ts';
import type { Format } from '../values.ts';

const COLUMNS: readonly Column[] = [
  { head: 'ID', cell: (row) => row.id },
  { head: 'DECISION', cell: (row) => row.decision },
  { head: 'FLAVOUR', cell: (row) => row.flavour },
  { head: 'REPLICAS', cell: (row) => row.replicas },
  { head: 'ETA', cell: (row) => row.eta },
  { head: 'WHY', cell: (row) => row.why },
];

/** `merit plan`: what the planner would do with a scenario, offline. Exits 0 whenever a plan was computed. */
export default async function plan({ options, io }: Invocation): Promise<number> {
  const scenario = parseScenario(await readDescription(io, String(options.file)));
  const untilStable = options.untilStable === true;
  const made = planScenario(scenario, untilStable);
  const document = planDocument(made, untilStable);
  const names = { columns: [], name: () => made.admitted.map(({ id }) => id).join('\n') };
  await showOne(io, options.output as Format, names, document, planText(made, options.output === 'wide'));
  return EXIT.ok;
}

export function planText(made: Plan, wide: boolean): string {
  const rows: Row[] = [
    ...made.admitted.map(({ id, podSets, replicas, borrowedMilli }) => {
      const borrowed = Object.entries(borrowedMilli).filter(([, milli]) => milli > 0);
      const why = borrowed.map(([resource, milli]) => `borrows ${milli / 1000} ${resource}`).join(', ');
      return { id, decision: 'admit', flavour: podSets.map(({ flavour }) => flavour).join(','), replicas, why };
    }),
    ...made.preempted.map(({ id, for: whom, how, keptReplicas }) => ({
      id,
      decision: how,
      replicas: keptReplicas,
      why: `for ${whom}`,
    })),
    ...made.waiting.flatMap(({ id, reasons, etaMs, smallestChange }) => {
      const [first, ...rest] = reasons;
      const eta = etaMs === null ? undefined : new Date(etaMs).toISOString();
      const mend = smallestChange === null ? [] : [{ id: '', why: `mend: ${smallestChange.text}` }];
      return [
        { id, decision: 'wait', flavour: first?.flavour, eta, why: told(first) },
        ...rest.map((reason) => ({ id: '', flavour: reason.flavour, why: told(reason) })),
        ...mend,
      ];
    }),
  ];
  const cycle =
    made.cycle === null
      ? ''
      : `the plan repeats itself every ${made.cycle.length} cycles from cycle ${made.cycle.from} on\n`;
  return table(COLUMNS, rows, wide) + cycle;
}

function told(reason: Plan['waiting'][number]['reasons'][number] | undefined): string {
  return reason === undefined ? 'its turn comes in the next cycle' : `${reason.code}: ${reason.text}`;
}
