import { type Refusal, refuse } from '../../core/refusal.ts';
import { schemaRefusals } from '../cloud/option-check.ts';
import { ProviderError } from '../provider.ts';
import { IMAGE_PATTERN, type ImagePullPolicy, type KubernetesConfig, NAME_PATTERN, PULL_POLICIES } from './config.ts';
import { LABEL_NAME_PATTERN, LABEL_VALUE_PATTERN } from './flavour.ts';
import { MERIT_ROOT } from './start.ts';

/** What a job may ask of Kubernetes alone: `options: {kubernetes: {…}}` in its file. */
export interface KubernetesJobOptions {
  readonly image?: string;
  readonly imagePullPolicy?: ImagePullPolicy;
  /** Each one of those that the pool names. */
  readonly serviceAccount?: string;
  readonly priorityClass?: string;
  /** Secrets whose keys become variables. */
  readonly secrets?: readonly string[];
  readonly claims?: readonly { readonly name: string; readonly path: string; readonly readOnly?: boolean }[];
  /** Besides the flavour's, as for a zone or a rack. */
  readonly nodeSelector?: Readonly<Record<string, string>>;
  /** Memory at /dev/shm, of which containers have 64 MiB otherwise. */
  readonly shmGib?: number;
}

const ROOT = 'options.kubernetes';
const SHM_LIMIT_GIB = 1_024;
const LIMIT = 16;
const objectName = { type: 'string', pattern: NAME_PATTERN } as const;

const jobOptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    image: { type: 'string', pattern: IMAGE_PATTERN },
    imagePullPolicy: { type: 'string', enum: [...PULL_POLICIES] },
    serviceAccount: objectName,
    priorityClass: objectName,
    secrets: { type: 'array', maxItems: LIMIT, items: objectName },
    claims: {
      type: 'array',
      maxItems: LIMIT,
      items: {
        type: 'object',
        required: ['name', 'path'],
        additionalProperties: false,
        properties: {
          name: objectName,
          path: { type: 'string', maxLength: 512, pattern: '^(/[A-Za-z0-9_.-]+)+$' },
          readOnly: { type: 'boolean' },
        },
      },
    },
    nodeSelector: {
      type: 'object',
      maxProperties: LIMIT,
      additionalProperties: { type: 'string', pattern: LABEL_VALUE_PATTERN },
    },
    shmGib: { type: 'integer', minimum: 1, maximum: SHM_LIMIT_GIB },
  },
} as const;

/** Where the schema's own words would not help. */
const MENDS: Readonly<Record<string, string>> = {
  image: 'write registry/name:tag or registry/name@sha256:…, without spaces',
  secrets: 'write the names of Secrets that the pool lists, as [wandb]',
  claims: 'write [{name: datasets, path: /data, readOnly: true}]',
  nodeSelector: 'write label: "value", values in quotes',
};

/** All that is wrong with `options.kubernetes` of a job; fields as they stand in its file. */
export function jobOptionsRefusals(value: unknown): readonly Refusal[] {
  if (value === undefined) return [];
  const wrong = schemaRefusals(ROOT, jobOptionsSchema, MENDS, value);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return wrong;
  return [...wrong, ...otherRefusals(value as KubernetesJobOptions)];
}

function otherRefusals({ nodeSelector, claims }: KubernetesJobOptions): readonly Refusal[] {
  const form = new RegExp(LABEL_NAME_PATTERN);
  const names =
    typeof nodeSelector === 'object' && nodeSelector !== null
      ? Object.keys(nodeSelector).filter((name) => !form.test(name))
      : [];
  const paths = Array.isArray(claims)
    ? claims.map((claim) => String((claim as { path?: unknown } | null)?.path ?? ''))
    : [];
  const taken = paths.filter((path) => path === MERIT_ROOT || path.startsWith(`${MERIT_ROOT}/`) || path === '/dev/shm');
  return [
    ...names.map((name) =>
      refuse(
        'charset',
        `${ROOT}.nodeSelector`,
        `has ${JSON.stringify(name.slice(0, 80))}, which is no label`,
        'write it as kubectl get nodes --show-labels tells it',
      ),
    ),
    ...taken.map((path) =>
      refuse('reserved', `${ROOT}.claims`, `mounts ${path}, which Merit has`, 'name another path'),
    ),
    ...(new Set(paths).size < paths.length
      ? [refuse('duplicate', `${ROOT}.claims`, 'mounts two at one path', 'give each its own path')]
      : []),
  ];
}

/** Throws ProviderError `invalid` for what the pool's config does not let a job ask for, or lacks. */
export function checkAllowed(config: KubernetesConfig, options: KubernetesJobOptions): void {
  const refused = (text: string) => new ProviderError('invalid', `${ROOT}.${text}`);
  if (options.image === undefined && config.image === undefined)
    throw refused('image: is missing, and the pool has none: name one');
  const asked = [
    ['serviceAccount', options.serviceAccount, [config.serviceAccount, ...(config.serviceAccounts ?? [])]],
    ['priorityClass', options.priorityClass, [config.priorityClass, ...(config.priorityClasses ?? [])]],
    ...(options.secrets ?? []).map((name) => ['secrets', name, config.secrets ?? []] as const),
    ...(options.claims ?? []).map(({ name }) => ['claims', name, config.claims ?? []] as const),
  ] as const;
  for (const [field, name, allowed] of asked) {
    const there = allowed.filter((one) => one !== undefined);
    if (name !== undefined && !there.includes(name))
      throw refused(
        `${field}: ${name} is none of the pool's: ${there.length === 0 ? 'it has none' : there.join(', ')}`,
      );
  }
}
