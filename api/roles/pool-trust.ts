import { realpathSync } from 'node:fs';
import { dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { type Refusal, refuse } from '../../core/refusal.ts';
import { isInside } from '../../platform/inside.ts';
import type { PoolFile } from '../../pools/pool-file.ts';

export interface PoolTrust {
  /** The installation's own tenant, whose operators run the machine. */
  readonly tenant: string;
  readonly stateDir: string;
  /** Folders that any tenant's pools may name files in. */
  readonly files: readonly string[];
}

/**
 * What a pool may have of the server's own machine: its providers run with the server's rights, and send what a named file holds to an address that the pool
 * names. So no pool names a file of the installation's state, its token above all; and the pools of other tenants than the installation's own run nothing on
 * this machine, name files in folders only that its operator lists, and no secret that is read with the server's own AWS identity. Fields begin with `provider`.
 */
export function trustRefusals(
  { kind, config }: PoolFile['provider'],
  tenant: string,
  trust: PoolTrust,
): readonly Refusal[] {
  const isOwn = tenant === trust.tenant;
  const runsHere = kind === 'local' || (kind === 'ray' && config === undefined);
  const refusals: Refusal[] = [];
  if (runsHere && !isOwn) {
    const problem =
      'runs jobs on the server’s own machine, with its rights: that is for the tenant of the installation';
    refusals.push(refuse('forbidden', 'provider.kind', problem, 'name a cluster of your own'));
  }
  const state = realPath(trust.stateDir);
  const allowed = trust.files.map(realPath);
  for (const [field, path] of pathsIn(config, 'provider.config')) {
    const real = realPath(path);
    const isOfState = isInside(state, real);
    if (!isOfState && (isOwn || allowed.some((folder) => isInside(folder, real)))) continue;
    const problem = isOfState ? 'is of the server’s own state' : 'is in no folder that pools of this tenant may name';
    const mend = 'put it into a folder of its own; the operator lists those of other tenants in MERIT_PROVIDER_FILES';
    refusals.push(refuse('forbidden', field, problem, mend));
  }
  if (!isOwn)
    for (const field of secretsIn(config, 'provider.config')) {
      const problem = 'is a secret that is read with the server’s own identity';
      refusals.push(refuse('forbidden', field, problem, 'name a file in a folder that the operator lists'));
    }
  return refusals;
}

/** Every member of a config that names a secret of AWS Secrets Manager. */
function* secretsIn(value: unknown, field: string): Generator<string> {
  if (typeof value !== 'object' || value === null) return;
  if (Object.hasOwn(value, 'awsSecret')) yield field;
  for (const [name, member] of Object.entries(value)) yield* secretsIn(member, `${field}.${name}`);
}

/** Every text of a config that is a full path, with its field. */
function* pathsIn(value: unknown, field: string): Generator<readonly [string, string]> {
  if (typeof value === 'string') {
    if (isAbsolute(value)) yield [field, value];
  } else if (typeof value === 'object' && value !== null)
    for (const [name, member] of Object.entries(value)) yield* pathsIn(member, `${field}.${name}`);
}

/** Where a path leads, links followed as far as they are there. */
function realPath(path: string): string {
  const whole = resolve(path);
  try {
    return realpathSync(whole);
  } catch {
    const above = dirname(whole);
    return above === whole ? whole : join(realPath(above), relative(above, whole));
  }
}
