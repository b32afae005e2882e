import type { JobSpec } from '../core/job.ts';
import { type Refusal, RefusedInput, refuse } from '../core/refusal.ts';
import type { Tx } from '../platform/postgres.ts';
import type { PriorityClassFile } from './tree-files.ts';

export interface PriorityClasses {
  /** With the number that its class has now, where it names one. */
  resolved(spec: JobSpec): JobSpec;
  /** Why not: it names a class that does not exist. */
  refusals(spec: JobSpec): readonly Refusal[];
}

/** The classes of a tenant; nothing is read where none is named. A booking keeps its number when the class changes later. */
export async function priorityClasses(tx: Tx, tenant: string, specs: readonly JobSpec[]): Promise<PriorityClasses> {
  const isNamed = specs.some((spec) => spec.priorityClass !== undefined);
  const rows = isNamed
    ? await tx.query<{ file: PriorityClassFile }>(
        `select file from quota_documents where tenant = $1 and kind = 'PriorityClass' order by name collate "C"`,
        [tenant],
      )
    : [];
  const values = new Map(rows.map(({ file }) => [file.name, file.value]));
  return {
    resolved: (spec) =>
      spec.priorityClass === undefined ? spec : { ...spec, priority: values.get(spec.priorityClass) ?? spec.priority },
    refusals: ({ priorityClass }) => {
      if (priorityClass === undefined || values.has(priorityClass)) return [];
      const mend =
        values.size === 0
          ? 'write a number: there are no classes, and `merit apply` makes them'
          : `write a number, or one of ${[...values.keys()].slice(0, MAX_NAMED).join(', ')}`;
      return [
        refuse('unknown_priority_class', 'priority', `names the class ${priorityClass}, which does not exist`, mend),
      ];
    },
  };
}

/** Classes that a refusal names. */
const MAX_NAMED = 20;

/** One job's; throws RefusedInput where its class does not exist. */
export async function withPriority(tx: Tx, tenant: string, spec: JobSpec): Promise<JobSpec> {
  const classes = await priorityClasses(tx, tenant, [spec]);
  const refusals = classes.refusals(spec);
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return classes.resolved(spec);
}
