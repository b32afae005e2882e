import { type Refusal, RefusedInput, refuse } from '../core/refusal.ts';
import { check, type Static, Type } from '../core/schema.ts';
import { within } from './documents.ts';
import { PoolFile } from './pool-file.ts';

/**
 * The pools of an applied Terraform configuration, out of what `terraform show -json` prints (its JSON output format, major version 1). Terraform says what a
 * pool is made of: provider, flavours, prices and how much there is at most. Quotas, windows and machines are Merit's own, and stay.
 */

/** The output that a configuration tells its pools by: one, or a list. */
const POOL_OUTPUT = 'merit_pool';
const FORMAT_MAJOR = '1';
const MOST_POOLS = 256;
const mend = 'give the output what a module of infra/terraform/modules/pool-* tells as merit_pool';

const { name, provider, flavours } = PoolFile.properties;
const { nodes: _, liveCapacity: __, ...flavour } = flavours.items.properties;
const TerraformPool = Type.Object(
  { name, provider, flavours: Type.Array(Type.Object(flavour, { additionalProperties: false }), { minItems: 1 }) },
  { additionalProperties: false },
);
export type TerraformPool = Static<typeof TerraformPool>;

/** Throws RefusedInput with every problem of the output at once. */
export function poolsOfTerraform(shown: unknown): readonly TerraformPool[] {
  const told = withoutNulls(outputOf(shown));
  const isList = Array.isArray(told);
  const pools: readonly unknown[] = isList ? told : [told];
  const field = (i: number) => (isList ? `${POOL_OUTPUT}.${i}` : POOL_OUTPUT);
  if (pools.length === 0 || pools.length > MOST_POOLS)
    throw new RefusedInput([
      refuse('length', POOL_OUTPUT, `is ${pools.length} pools, and may be 1 to ${MOST_POOLS}`, mend),
    ]);
  const refusals = pools.flatMap((pool, i) => check(TerraformPool, pool).map((refusal) => within(field(i), refusal)));
  if (refusals.length === 0) refusals.push(...doubles(pools as readonly TerraformPool[], field));
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return pools as readonly TerraformPool[];
}

/** The pool's document: Terraform's part of it, and what the standing one has beside. A new pool grants nobody anything. */
export function documentOf(pool: TerraformPool, standing: PoolFile | undefined): PoolFile {
  const before = new Map(standing?.flavours.map((one) => [one.name, one]));
  return {
    quotas: {},
    ...standing,
    apiVersion: 'merit/v1',
    kind: 'Pool',
    name: pool.name,
    provider: pool.provider,
    flavours: pool.flavours.map((one) => {
      const { nodes, liveCapacity } = before.get(one.name) ?? {};
      return { ...one, ...(nodes && { nodes }), ...(liveCapacity === undefined ? {} : { liveCapacity }) };
    }),
  };
}

function outputOf(shown: unknown): unknown {
  const { format_version: version, values } = (shown ?? {}) as {
    readonly format_version?: unknown;
    readonly values?: {
      readonly outputs?: Readonly<Record<string, { readonly value?: unknown; readonly sensitive?: unknown }>>;
    };
  };
  const problem = (code: string, field: string, says: string, how: string) =>
    new RefusedInput([refuse(code, field, says, how)]);
  if (typeof version !== 'string' || version.split('.')[0] !== FORMAT_MAJOR) {
    const is = typeof version === 'string' ? `is ${version.slice(0, 16)}` : 'is missing';
    throw problem(
      'version',
      'format_version',
      `${is}, and Merit reads ${FORMAT_MAJOR}.x`,
      'use a Terraform whose `terraform show -json` prints that, as 1.x does',
    );
  }
  if (values === undefined || values === null)
    throw problem('empty', 'values', 'is missing: nothing was applied there', 'run terraform apply first');
  const output = values.outputs?.[POOL_OUTPUT];
  if (output === undefined)
    throw problem(
      'required',
      `outputs.${POOL_OUTPUT}`,
      'is missing',
      `add output "${POOL_OUTPUT}" { value = module.NAME.${POOL_OUTPUT} } to the root configuration and apply it`,
    );
  if (output.sensitive === true)
    throw problem(
      'secret',
      `outputs.${POOL_OUTPUT}`,
      'is marked sensitive',
      'name files that hold secrets (tokenFile, credentialsFile), and no secret, in a pool',
    );
  return output.value;
}

/** Terraform tells an optional attribute that is not there as null. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([, member]) => member !== null);
  return Object.fromEntries(kept.map(([key, member]) => [key, withoutNulls(member)]));
}

function doubles(pools: readonly TerraformPool[], field: (i: number) => string): readonly Refusal[] {
  const names = pools.map((pool) => pool.name);
  return names.flatMap((one, i) =>
    names.indexOf(one) === i
      ? []
      : [
          refuse(
            'duplicate',
            `${field(i)}.name`,
            `is ${one}, as that of ${field(names.indexOf(one))} is`,
            'rename one',
          ),
        ],
  );
}
