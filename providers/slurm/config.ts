import { isAbsolute } from 'node:path';
import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import { isLoopbackHost } from '../../platform/loopback.ts';
import {
  type PricedFlavour,
  flavoursOf as pricedFlavoursOf,
  flavourRefusals as pricedRefusals,
} from '../cloud/rented-flavours.ts';
import type { PoolFlavour } from '../provider.ts';

/** What Slurm is asked for where a job asks for this flavour. */
export interface SlurmFlavour extends PricedFlavour {
  /** A GRES as slurm.conf has it: `gpu` or `gpu:a100`. Absent: nodes for their CPUs. */
  readonly gres?: string;
  /** Instead of the pool's. */
  readonly partition?: string;
  readonly qos?: string;
  readonly constraint?: string;
}

/** `config` of a pool whose provider is `slurm`. */
export interface SlurmConfig {
  /** `https://host:port` of slurmrestd, or `http://` on this machine; instead of `socket`. */
  readonly url?: string;
  /** Absolute path of its Unix socket. */
  readonly socket?: string;
  /** Of the OpenAPI plugin; absent: v0.0.38. */
  readonly version?: (typeof API_VERSIONS)[number];
  /** Whose jobs they are: what slurmrestd submits as. Jobs of others are never touched. */
  readonly user: string;
  /** Absolute path of a file with a JWT of that user, read at each call. */
  readonly tokenFile?: string;
  /** Absolute path of the PEM of a private authority. */
  readonly caFile?: string;
  /** Absolute path of a folder that Merit and all nodes see under the same name. */
  readonly shared: string;
  readonly partition: string;
  readonly account?: string;
  readonly qos?: string;
  readonly constraint?: string;
  readonly reservation?: string;
  /** Accounts, QOS and reservations that jobs may ask for besides the pool's. */
  readonly accounts?: readonly string[];
  readonly qoses?: readonly string[];
  readonly reservations?: readonly string[];
  /** Of the jobs' environment. */
  readonly path?: string;
  /** Before Slurm's time limit a job has so long to end by itself. */
  readonly noticeSeconds?: number;
  /** How much longer than its lease Slurm lets a job run: what a lease may be extended by. */
  readonly extensionSeconds?: number;
  readonly flavours: readonly SlurmFlavour[];
}

/** Of slurmrestd 22.05 to 23.11. Later ones have other forms of requests and are refused by name. */
const API_VERSIONS = ['v0.0.38'] as const;
export const DEFAULT_API_VERSION = API_VERSIONS[0];
export const DEFAULT_PATH = '/usr/local/bin:/usr/bin:/bin';
export const DEFAULT_NOTICE_SECONDS = 120;
export const DEFAULT_EXTENSION_SECONDS = 0;
const FLAVOURS_LIMIT = 64;
const ALLOWED_LIMIT = 64;
const NOTICE_LIMIT_SECONDS = 3_600;
const EXTENSION_LIMIT_SECONDS = 28 * 86_400;

/** What Slurm takes as the name of an account, a partition, a QOS, a reservation. */
export const NAME_PATTERN = '^[A-Za-z0-9][A-Za-z0-9_.@-]{0,127}$';
/** Features with their operators; brackets and commas stay out, they mean several nodes of different kinds. */
export const CONSTRAINT_PATTERN = '^[A-Za-z0-9_.&|()-]{1,255}$';
const GRES_PATTERN = '^[A-Za-z][A-Za-z0-9_-]{0,62}(:[A-Za-z0-9][A-Za-z0-9_.-]{0,62})?$';
/** It is put on paths of a shell, and of Slurm, where `%` begins a substitution. */
const FOLDER_PATTERN = '^/[A-Za-z0-9_./-]{1,200}$';
const URL_PATTERN = '^https?://[^/?#@\\s]+/?$';

const name = { type: 'string', pattern: NAME_PATTERN } as const;
const names = { type: 'array', maxItems: ALLOWED_LIMIT, items: name } as const;

export const slurmConfigSchema = {
  type: 'object',
  required: ['user', 'shared', 'partition', 'flavours'],
  examples: [
    {
      socket: '/run/slurmrestd/slurmrestd.socket',
      user: 'merit',
      shared: '/shared/merit',
      partition: 'gpu',
      flavours: [{ name: 'a100', gres: 'gpu:a100' }],
    },
  ],
  additionalProperties: false,
  properties: {
    url: { type: 'string', pattern: URL_PATTERN, description: 'https://host:port of slurmrestd' },
    socket: { type: 'string', description: 'absolute path of its Unix socket' },
    version: { type: 'string', enum: [...API_VERSIONS], description: 'of its OpenAPI plugin' },
    user: { type: 'string', pattern: '^[a-z_][a-z0-9_.-]{0,63}$', description: 'whose jobs they are' },
    tokenFile: { type: 'string', description: 'absolute path of a file with a JWT' },
    caFile: { type: 'string', description: 'absolute path of a PEM file' },
    shared: { type: 'string', pattern: FOLDER_PATTERN, description: 'absolute path that Merit and all nodes see' },
    partition: name,
    account: name,
    qos: name,
    constraint: { type: 'string', pattern: CONSTRAINT_PATTERN },
    reservation: name,
    accounts: names,
    qoses: names,
    reservations: names,
    path: { type: 'string', minLength: 1, maxLength: 4096, pattern: '^[^\\u0000-\\u001f]+$' },
    noticeSeconds: { type: 'integer', minimum: 0, maximum: NOTICE_LIMIT_SECONDS },
    extensionSeconds: { type: 'integer', minimum: 0, maximum: EXTENSION_LIMIT_SECONDS },
    flavours: {
      type: 'array',
      minItems: 1,
      maxItems: FLAVOURS_LIMIT,
      items: {
        type: 'object',
        required: ['name'],
        additionalProperties: false,
        properties: {
          name: { type: 'string' },
          gres: { type: 'string', pattern: GRES_PATTERN, description: 'gpu or gpu:TYPE' },
          partition: name,
          qos: name,
          constraint: { type: 'string', pattern: CONSTRAINT_PATTERN },
          spot: { type: 'boolean' },
          centsPerUnitHour: { type: 'integer', minimum: 0 },
          currency: { type: 'string', pattern: '^[A-Z]{3}$' },
        },
      },
    },
  },
} as const;

/** What the schema cannot say, all of it at once. Throws RefusedInput. */
export function checkSlurmConfig(config: SlurmConfig, pool: readonly PoolFlavour[] | undefined): void {
  const refusals: Refusal[] = [...doorRefusals(config), ...flavourRefusals(config, pool)];
  for (const field of ['socket', 'tokenFile', 'caFile'] as const) {
    const path = config[field];
    if (path !== undefined && !isAbsolute(path))
      refusals.push(refuse('format', field, 'must be an absolute path', 'write the full path'));
  }
  if (config.shared.split('/').includes('..'))
    refusals.push(refuse('format', 'shared', 'has .. in it', 'write the full path'));
  if (refusals.length > 0) throw new RefusedInput(refusals);
}

function doorRefusals({ url, socket, tokenFile, caFile }: SlurmConfig): readonly Refusal[] {
  if ((url === undefined) === (socket === undefined))
    return [
      refuse('required', 'url', 'or socket has to be there, and not both', 'name where slurmrestd listens, in one way'),
    ];
  if (url === undefined) return [];
  const refusals: Refusal[] = [];
  if (url.startsWith('http:') && !isLoopbackHost(new URL(url).hostname))
    refusals.push(
      refuse('insecure', 'url', 'carries the token in clear', 'put TLS before slurmrestd and write https://'),
    );
  if (tokenFile === undefined) {
    const mend = 'scontrol token username=USER makes one; name the file that holds it';
    refusals.push(refuse('required', 'tokenFile', 'is missing: over TCP slurmrestd knows a user by its JWT', mend));
  }
  if (caFile !== undefined && !url.startsWith('https:'))
    refusals.push(refuse('conflict', 'caFile', 'stands beside an url without TLS', 'remove it, or write https://'));
  return refusals;
}

function flavourRefusals({ flavours }: SlurmConfig, pool: readonly PoolFlavour[] | undefined): readonly Refusal[] {
  const noGres = (pool ?? []).filter(
    ({ flavour, resource }) =>
      resource === 'gpu' && flavours.some(({ name, gres }) => name === flavour && gres === undefined),
  );
  return [
    ...pricedRefusals(flavours, pool, 'nodes'),
    ...noGres.map(({ flavour }) =>
      refuse('required', 'flavours', `give ${flavour} no gres, yet the pool counts its GPUs`, 'write gres: gpu:TYPE'),
    ),
  ];
}

/** A flavour with what the pool's file and the pool's own config say of it. */
export type Flavour = SlurmFlavour & { readonly spot: boolean; readonly partition: string };

export function flavoursOf(config: SlurmConfig, pool?: readonly PoolFlavour[]): readonly Flavour[] {
  return pricedFlavoursOf(config.flavours, pool).map((own) => {
    const constraint = own.constraint ?? config.constraint;
    return {
      ...own,
      ...(constraint === undefined ? {} : { constraint }),
      partition: own.partition ?? config.partition,
    };
  });
}
