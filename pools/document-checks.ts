import { ownOf } from '../core/own.ts';
import { type Refusal, refuse } from '../core/refusal.ts';
import type { Document } from './documents.ts';
import { documentKey } from './documents.ts';
import type { PoolFile } from './pool-file.ts';
import { milliQuota } from './quota-value.ts';
import type { DivisionFile, GroupFile } from './tree-files.ts';

/** Groups above a division, at most: each step of an admission and of a charge looks at all of them. */
export const MAX_GROUP_DEPTH = 8;

/** What a document says that others contradict. */
export interface DocumentRefusal {
  readonly key: string;
  readonly refusal: Refusal;
}

/** What all documents of a tenant say of each other: names that exist, groups without loops, quotas within capacity. */
export function documentRefusals(documents: readonly Document[]): readonly DocumentRefusal[] {
  const found: DocumentRefusal[] = [];
  const known = knownOf(documents);
  for (const document of documents) {
    for (const refusal of refusalsOf(document, known)) found.push({ key: documentKey(document), refusal });
  }
  return found;
}

interface Known {
  readonly pools: ReadonlyMap<string, PoolFile>;
  readonly groups: ReadonlyMap<string, GroupFile>;
}

function knownOf(documents: readonly Document[]): Known {
  const pools = new Map<string, PoolFile>();
  const groups = new Map<string, GroupFile>();
  for (const document of documents) {
    if (document.kind === 'Pool') pools.set(document.name, document);
    else if (document.kind === 'Group') groups.set(document.name, document);
  }
  return { pools, groups };
}

function refusalsOf(document: Document, known: Known): readonly Refusal[] {
  switch (document.kind) {
    case 'Group':
      return [...parentRefusals(document, known), ...groupQuotaRefusals(document, known)];
    case 'Division':
      return divisionRefusals(document, known);
    case 'Pool':
      return grantRefusals(document, known);
    case 'Scheduling':
      return Object.keys(document.guards?.pools ?? {}).flatMap((pool) => poolRefusals(pool, 'guards.pools', known));
    case 'PriorityClass':
    case 'Budget':
    case 'SigningPolicy':
      return [];
  }
}

function parentRefusals({ name, parent }: GroupFile, { groups }: Known): readonly Refusal[] {
  if (parent == null) return [];
  if (!groups.has(parent)) return [unknownGroup('parent', parent)];
  let depth = 1;
  for (let at: string | null = parent; at !== null; at = groups.get(at)?.parent ?? null) {
    if (at === name) return [refuse('loop', 'parent', `${name} is its own ancestor`, 'break the loop')];
    depth++;
    if (depth > MAX_GROUP_DEPTH + groups.size) return [];
  }
  if (depth <= MAX_GROUP_DEPTH) return [];
  const problem = `puts ${name} ${depth} groups deep, and at most ${MAX_GROUP_DEPTH} may stand above a division`;
  return [refuse('depth', 'parent', problem, 'name a parent higher up')];
}

function unknownGroup(field: string, name: string): Refusal {
  const mend = 'apply it too, or name one from `merit groups ls`';
  return refuse('unknown_group', field, `names the group ${name}, which does not exist`, mend);
}

function poolRefusals(pool: string, field: string, { pools }: Known): readonly Refusal[] {
  if (pools.has(pool)) return [];
  const mend = 'apply it too, or name one from `merit pools ls`';
  return [refuse('unknown_pool', `${field}.${pool}`, 'is a pool that does not exist', mend)];
}

function groupQuotaRefusals({ quotas = {} }: GroupFile, known: Known): readonly Refusal[] {
  return Object.entries(quotas).flatMap(([pool, byFlavour]) => {
    const unknown = poolRefusals(pool, 'quotas', known);
    if (unknown.length > 0) return unknown;
    return Object.keys(byFlavour).flatMap((flavour) =>
      flavourRefusals(`${pool}/${flavour}`, `quotas.${pool}.${flavour}`, known),
    );
  });
}

function flavourRefusals(id: string, field: string, { pools }: Known): readonly Refusal[] {
  const [pool = '', flavour = ''] = id.split('/');
  if (pools.get(pool)?.flavours.some(({ name }) => name === flavour) === true) return [];
  const problem = `names the flavour ${id}, which does not exist`;
  return [refuse('unknown_flavour', field, problem, 'name one from `merit pools ls`, as pool/flavour')];
}

function divisionRefusals(file: DivisionFile, known: Known): readonly Refusal[] {
  const { group, flavours = [], userLimits = [] } = file;
  return [
    ...(group != null && !known.groups.has(group) ? [unknownGroup('group', group)] : []),
    ...flavours.flatMap((id, i) => flavourRefusals(id, `flavours.${i}`, known)),
    ...userLimits.flatMap(({ flavour }, i) =>
      flavour === undefined ? [] : flavourRefusals(flavour, `userLimits.${i}.flavour`, known),
    ),
  ];
}

/** Σ nominal of divisions and groups ≤ capacity, unless the pool says otherwise. Divisions alone were judged with the file. */
function grantRefusals(pool: PoolFile, { groups }: Known): readonly Refusal[] {
  if (pool.overcommit === true) return [];
  return pool.flavours.flatMap(({ name, capacity }) => {
    const divisions = Object.values(pool.quotas).map((quota) => ownOf(quota, name));
    const owners = [...groups.values()].map(({ quotas }) => quotas?.[pool.name]?.[name]);
    let granted = 0;
    for (const quota of [...divisions, ...owners]) granted += milliQuota(quota).nominalMilli / 1000;
    if (granted <= capacity) return [];
    const problem = `grant ${granted} of ${name} with those of groups, and it has ${capacity}`;
    return [refuse('overcommit', 'quotas', problem, 'lower the quotas or set overcommit: true')];
  });
}
