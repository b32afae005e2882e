import { type Refusal, refuse } from '../../core/refusal.ts';
import { type PricedFlavour, flavourRefusals as pricedRefusals } from '../cloud/rented-flavours.ts';
import type { PoolFlavour } from '../provider.ts';

export { flavoursOf, offersOf } from '../cloud/rented-flavours.ts';

/** Nodes of one kind, told by their labels. */
export interface ClusterFlavour extends PricedFlavour {
  /** Labels that its nodes have, and jobs on it ask for; absent: all nodes. */
  readonly nodeSelector?: Readonly<Record<string, string>>;
  /** What its GPUs are called in a node's allocatable; absent: it has none. */
  readonly gpuResource?: string;
  /** Taints that its jobs put up with, beside those of GPUs. */
  readonly tolerations?: readonly Toleration[];
}

export interface Toleration {
  readonly key?: string;
  readonly operator?: 'Exists' | 'Equal';
  readonly value?: string;
  readonly effect?: 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute';
  readonly tolerationSeconds?: number;
}

const NVIDIA_GPU = 'nvidia.com/gpu';
const FLAVOURS_LIMIT = 64;

export const LABEL_NAME_PATTERN =
  '^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$';
export const LABEL_VALUE_PATTERN = '^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$';

export const labelsSchema = {
  type: 'object',
  maxProperties: 32,
  propertyNames: { pattern: LABEL_NAME_PATTERN },
  additionalProperties: { type: 'string', pattern: LABEL_VALUE_PATTERN },
} as const;

export const tolerationsSchema = {
  type: 'array',
  maxItems: 32,
  items: {
    type: 'object',
    additionalProperties: false,
    properties: {
      key: { type: 'string', pattern: LABEL_NAME_PATTERN },
      operator: { enum: ['Exists', 'Equal'] },
      value: { type: 'string', pattern: LABEL_VALUE_PATTERN },
      effect: { enum: ['NoSchedule', 'PreferNoSchedule', 'NoExecute'] },
      tolerationSeconds: { type: 'integer', minimum: 0 },
    },
  },
} as const;

export const flavoursSchema = {
  type: 'array',
  minItems: 1,
  maxItems: FLAVOURS_LIMIT,
  items: {
    type: 'object',
    required: ['name'],
    additionalProperties: false,
    properties: {
      name: { type: 'string' },
      nodeSelector: labelsSchema,
      gpuResource: { type: 'string', pattern: LABEL_NAME_PATTERN, description: 'as nvidia.com/gpu; absent: no GPU' },
      tolerations: tolerationsSchema,
      spot: { type: 'boolean' },
      centsPerUnitHour: { type: 'integer', minimum: 0 },
      currency: { type: 'string', pattern: '^[A-Z]{3}$' },
    },
  },
} as const;

/** What the schema cannot say of flavours. */
export function flavourRefusals(
  flavours: readonly ClusterFlavour[],
  pool: readonly PoolFlavour[] | undefined,
): readonly Refusal[] {
  const noGpu = flavours.flatMap(({ name, gpuResource }, i) =>
    gpuResource === undefined && pool?.some(({ flavour, resource }) => flavour === name && resource === 'gpu')
      ? [
          refuse(
            'required',
            `flavours/${i}/gpuResource`,
            `is missing, and the pool counts GPUs of ${name}`,
            `name it, as ${NVIDIA_GPU}`,
          ),
        ]
      : [],
  );
  return [...pricedRefusals(flavours, pool, 'nodes'), ...noGpu];
}

/** A flavour with what the pool's file says of it. */
export type Flavour = ClusterFlavour & { readonly spot: boolean };
