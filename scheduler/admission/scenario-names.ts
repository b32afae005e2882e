import type { ScenarioFile } from './scenario-schema.ts';
import type { ScenarioValues } from './scenario-values.ts';

/** What the parts of a scenario say of each other: names that exist, once each, and quantities that go together. */
export function checkNames(file: ScenarioFile, flavours: ReadonlySet<string>, values: ScenarioValues): void {
  const groups = new Set((file.groups ?? []).map(({ name }) => name));
  const divisions = new Set((file.divisions ?? []).map(({ name }) => name));
  values.unique(
    'groups',
    (file.groups ?? []).map(({ name }) => name),
  );
  values.unique(
    'divisions',
    (file.divisions ?? []).map(({ name }) => name),
  );
  values.unique(
    'flavours',
    (file.flavours ?? []).map(({ name }) => name),
  );
  values.unique(
    'nodes',
    (file.nodes ?? []).map(({ name, flavour }) => `${flavour}/${name}`),
  );
  values.unique(
    'running',
    (file.running ?? []).map(({ id }) => id),
  );
  values.unique(
    'pending',
    (file.pending ?? []).map(({ id }) => id),
  );
  checkGroups(file, groups, values);
  for (const [i, { group, flavours: order = [] }] of (file.divisions ?? []).entries()) {
    if (group != null) values.known(`divisions.${i}.group`, group, groups, 'group');
    for (const [at, name] of order.entries()) values.known(`divisions.${i}.flavours.${at}`, name, flavours, 'flavour');
  }
  for (const [i, { division }] of (file.budgets ?? []).entries())
    values.known(`budgets.${i}.division`, division, divisions, 'division');
  for (const [i, { division, flavour }] of (file.reservations ?? []).entries()) {
    values.known(`reservations.${i}.division`, division, divisions, 'division');
    values.known(`reservations.${i}.flavour`, flavour, flavours, 'flavour');
  }
  const nodes = new Set((file.nodes ?? []).map(({ name }) => name));
  const running = new Set((file.running ?? []).map(({ id }) => id));
  for (const [i, one] of (file.running ?? []).entries()) {
    const field = `running.${i}`;
    values.known(`${field}.division`, one.division, divisions, 'division');
    for (const on of [one.on, ...(one.podSets ?? []).map((podSet) => podSet.on ?? one.on)]) {
      if (on !== undefined) values.known(`${field}.on`, on, flavours, 'flavour');
    }
    if (one.on === undefined && (one.podSets ?? [{ on: undefined }]).some((podSet) => podSet.on === undefined))
      values.refuse('required', `${field}.on`, 'is missing', 'name the flavour that it runs on');
    if (one.node !== undefined) values.known(`${field}.node`, one.node, nodes, 'node');
    checkAsk(one, field, values);
  }
  for (const [i, one] of (file.pending ?? []).entries()) {
    const field = `pending.${i}`;
    values.known(`${field}.division`, one.division, divisions, 'division');
    for (const [at, name] of (one.flavours ?? []).entries())
      values.known(`${field}.flavours.${at}`, name, flavours, 'flavour');
    if (running.has(one.id)) values.refuse('duplicate', `${field}.id`, `${one.id} is running, too`, 'rename one');
    checkAsk(one, field, values);
  }
  checkCapacity(file, values);
}

function checkGroups(file: ScenarioFile, groups: ReadonlySet<string>, values: ScenarioValues): void {
  const parents = new Map((file.groups ?? []).map(({ name, parent }) => [name, parent ?? null]));
  for (const [i, { name, parent }] of (file.groups ?? []).entries()) {
    if (parent == null) continue;
    values.known(`groups.${i}.parent`, parent, groups, 'group');
    let at: string | null = parent;
    for (let steps = 0; at !== null && steps <= parents.size; steps++) {
      if (at === name) {
        values.refuse('loop', `groups.${i}.parent`, `${name} is its own ancestor`, 'break the loop');
        break;
      }
      at = parents.get(at) ?? null;
    }
  }
}

interface Ask {
  readonly resources?: unknown;
  readonly podSets?: unknown;
  readonly replicas?: number | undefined;
  readonly minReplicas?: number | undefined;
}

function checkAsk({ resources, podSets, replicas, minReplicas }: Ask, field: string, values: ScenarioValues): void {
  if (resources === undefined && podSets === undefined)
    values.refuse('required', `${field}.resources`, 'is missing', 'add it, or podSets');
  if (podSets !== undefined) {
    for (const [name, value] of Object.entries({ resources, replicas, minReplicas }))
      if (value !== undefined)
        values.refuse('conflict', `${field}.${name}`, 'stands beside podSets', 'keep one of them');
  }
  if (minReplicas !== undefined && minReplicas > (replicas ?? 1))
    values.refuse(
      'range',
      `${field}.minReplicas`,
      `is more than replicas, ${replicas ?? 1}`,
      'lower it, or raise replicas',
    );
}

/** Σ nominal ≤ capacity, unless it says otherwise. */
function checkCapacity(file: ScenarioFile, values: ScenarioValues): void {
  if (file.overcommit === true) return;
  const owners = [...(file.groups ?? []), ...(file.divisions ?? [])];
  for (const [flavour, amounts] of Object.entries(file.capacity ?? {})) {
    for (const [resource, capacity] of Object.entries(amounts)) {
      const granted = owners.reduce(
        (sum, { quota }) => sum + Math.round((quota?.[flavour]?.[resource]?.nominal ?? 0) * 1000),
        0,
      );
      if (granted <= Math.round(capacity * 1000)) continue;
      const problem = `is ${capacity}, and quotas grant ${granted / 1000}`;
      values.refuse(
        'overcommit',
        `capacity.${flavour}.${resource}`,
        problem,
        'lower the quotas or set overcommit: true',
      );
    }
  }
}
