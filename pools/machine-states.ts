import { canonicalText } from '../core/canonical.ts';
import { ownOf } from '../core/own.ts';
import type { Tx } from '../platform/postgres.ts';
import { type Actor, lockDocuments, tellDocument } from './document-store.ts';
import type { PoolFile } from './pool-file.ts';

/** Of a machine that takes no new work; `draining`: what runs there has to leave as well. */
export type MachineState = 'cordoned' | 'draining';
/** Those that are not open, by name. */
export type MachineStates = Readonly<Record<string, MachineState>>;

export type MachineChange =
  | { readonly kind: 'done'; readonly version: bigint }
  | { readonly kind: 'unknown_machine' }
  /** The pool was changed since the version given; nothing was changed. */
  | { readonly kind: 'stale'; readonly version: bigint };

/** What tells machines of different pools apart. */
export function machineId(pool: string, machine: string): string {
  return `${pool}/${machine}`;
}

/** Has one machine of a pool take no new work, or take it again, or be left by what runs there. undefined: there is no such pool. */
export async function setMachineState(
  tx: Tx,
  by: Actor,
  pool: string,
  machine: string,
  wanted: 'cordon' | 'uncordon' | 'drain',
  ifVersion?: bigint,
): Promise<MachineChange | undefined> {
  await lockDocuments(tx, by.tenant);
  const [row] = await tx.query<{ file: PoolFile; machines: MachineStates; version: bigint }>(
    'select file, machines, version from pools where tenant = $1 and pool = $2 for update',
    [by.tenant, pool],
  );
  if (row === undefined) return undefined;
  if (ifVersion !== undefined && ifVersion !== row.version) return { kind: 'stale', version: row.version };
  const names = machineNames(row.file);
  const before = ownOf(row.machines, machine);
  if (!names.has(machine)) return { kind: 'unknown_machine' };
  const after = stateAfter(before, wanted);
  if (after === before) return { kind: 'done', version: row.version };
  // Those that left the file go with it.
  const others = Object.entries(row.machines).filter(([name]) => name !== machine && names.has(name));
  const machines = Object.fromEntries(after === undefined ? others : [...others, [machine, after]]);
  await tx.execute('update pools set machines = $3, version = version + 1 where tenant = $1 and pool = $2', [
    by.tenant,
    pool,
    canonicalText(machines),
  ]);
  const version = row.version + 1n;
  const what = after ?? 'uncordoned';
  await tellDocument(tx, by, { kind: 'Pool', name: pool }, what, { version: String(version), machine });
  return { kind: 'done', version };
}

function stateAfter(
  before: MachineState | undefined,
  wanted: 'cordon' | 'uncordon' | 'drain',
): MachineState | undefined {
  if (wanted === 'uncordon') return undefined;
  return wanted === 'drain' ? 'draining' : (before ?? 'cordoned');
}

export function machineNames(file: PoolFile): ReadonlySet<string> {
  return new Set(file.flavours.flatMap(({ nodes = [] }) => nodes.map(({ name }) => name)));
}
