import { isAbsolute } from 'node:path';
import { slugRefusal } from '../../core/ids.ts';
import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import { ruleEndpoint } from '../../platform/config-rules.ts';
import { labelRefusals } from './job-options.ts';
import type { TokenSecret } from './token-reader.ts';

export interface RayFlavour {
  readonly name: string;
  /** A custom Ray resource that exactly this flavour's nodes have; jobs ask for a sliver of it. Undefined: every node. */
  readonly resource?: string;
  /** What the labels of exactly this flavour's nodes match, as in {"ray.io/accelerator-type": "H100"}. Beside `resource`, or in its place. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Cents per GPU-hour, or CPU-hour where it has no GPU. Undefined: not offered at a price. */
  readonly centsPerUnitHour?: number;
  readonly currency?: string;
  readonly spot?: boolean;
}

/** `config` of a pool whose provider is `ray`. */
export interface RayConfig {
  /** The dashboard's address, as http://host:8265. */
  readonly address: string;
  /** Absolute path of a file that holds the cluster's token; read again when Ray refuses it. */
  readonly tokenFile?: string;
  /** In its place: where in AWS Secrets Manager the token is, read with the server's own identity. */
  readonly tokenSecret?: TokenSecret;
  /** Absolute path of the PEM of a private authority. */
  readonly caFile?: string;
  /** Absolute paths of the PEM of a client certificate and its key, where a proxy before Ray asks for one. */
  readonly certFile?: string;
  readonly keyFile?: string;
  /** Says by name that a cluster which runs anybody's code without a token is wanted. */
  readonly allowUnauthenticated?: boolean;
  readonly timeoutMs?: number;
  readonly submitTimeoutMs?: number;
  /** Between a job's SIGTERM and SIGKILL when it is drained or released. */
  readonly stopGraceSeconds?: number;
  /** How long the nodes of a gang are waited for, all at once. */
  readonly gangStartSeconds?: number;
  /** How long a node runs on after its head was lost; until then nothing of a lost cluster is run again. 0: there is one node only. */
  readonly nodeGivesUpSeconds?: number;
  readonly flavours?: readonly RayFlavour[];
}

export const DEFAULT_GANG_START_SECONDS = 900;
/** Ray's gcs_rpc_server_reconnect_timeout_s is 60; a job on another node ran on for 63 s after its head was killed (measured). */
export const DEFAULT_NODE_GIVES_UP_SECONDS = 90;
export const DEFAULT_STOP_GRACE_SECONDS = 30;
export const DEFAULT_FLAVOURS: readonly RayFlavour[] = [{ name: 'default' }];
const FLAVOURS_LIMIT = 64;
const TIMEOUT_LIMIT_MS = 600_000;
const STOP_GRACE_LIMIT_SECONDS = 3600;
const GANG_START_LIMIT_SECONDS = 86_400;
const NODE_GIVES_UP_LIMIT_SECONDS = 3600;

export const rayConfigSchema = {
  type: 'object',
  required: ['address'],
  examples: [{ address: 'https://ray.example:8265', tokenFile: '/run/ray/token' }],
  additionalProperties: false,
  properties: {
    address: { type: 'string', description: 'http://host:8265 or https://…' },
    tokenFile: { type: 'string', description: 'absolute path of the token file' },
    tokenSecret: {
      type: 'object',
      description: 'the token in AWS Secrets Manager, in place of tokenFile',
      required: ['awsSecret'],
      additionalProperties: false,
      properties: {
        awsSecret: { type: 'string', description: 'ARN, or name' },
        field: { type: 'string', description: 'the secret is JSON, and the token that member' },
        region: { type: 'string' },
        endpoint: { type: 'string', description: 'another than AWS has' },
        profile: { type: 'string', description: 'of the shared credentials file' },
      },
    },
    caFile: { type: 'string', description: 'absolute path of a PEM file' },
    certFile: { type: 'string', description: 'absolute path of a PEM file' },
    keyFile: { type: 'string', description: 'absolute path of a PEM file' },
    allowUnauthenticated: { type: 'boolean', description: 'take a cluster that asks for no token' },
    timeoutMs: { type: 'integer', minimum: 1, maximum: TIMEOUT_LIMIT_MS },
    submitTimeoutMs: { type: 'integer', minimum: 1, maximum: TIMEOUT_LIMIT_MS },
    stopGraceSeconds: { type: 'integer', minimum: 0, maximum: STOP_GRACE_LIMIT_SECONDS },
    gangStartSeconds: { type: 'integer', minimum: 1, maximum: GANG_START_LIMIT_SECONDS },
    nodeGivesUpSeconds: { type: 'integer', minimum: 0, maximum: NODE_GIVES_UP_LIMIT_SECONDS },
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
          resource: { type: 'string' },
          labels: { type: 'object', additionalProperties: { type: 'string' } },
          centsPerUnitHour: { type: 'integer', minimum: 0 },
          currency: { type: 'string', pattern: '^[A-Z]{3}$' },
          spot: { type: 'boolean' },
        },
      },
    },
  },
} as const;

/** Checks all of it and lists every error at once. Throws RefusedInput. */
export function checkRayConfig(config: RayConfig): RayConfig {
  const refusals = [
    ...addressRefusals(config.address),
    ...tokenRefusals(config),
    ...integerRefusal('timeoutMs', config.timeoutMs, 1, TIMEOUT_LIMIT_MS),
    ...integerRefusal('submitTimeoutMs', config.submitTimeoutMs, 1, TIMEOUT_LIMIT_MS),
    ...integerRefusal('stopGraceSeconds', config.stopGraceSeconds, 0, STOP_GRACE_LIMIT_SECONDS),
    ...integerRefusal('gangStartSeconds', config.gangStartSeconds, 1, GANG_START_LIMIT_SECONDS),
    ...integerRefusal('nodeGivesUpSeconds', config.nodeGivesUpSeconds, 0, NODE_GIVES_UP_LIMIT_SECONDS),
    ...flavourRefusals(config.flavours),
  ];
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return config;
}

function addressRefusals(address: unknown): Refusal[] {
  const url = typeof address === 'string' && URL.canParse(address) ? new URL(address) : undefined;
  const isHttp = url?.protocol === 'http:' || url?.protocol === 'https:';
  if (isHttp && url.username === '' && url.password === '' && url.search === '' && url.hash === '') return [];
  const mend = 'write http://host:8265 or https://…, without user, query or fragment';
  return [refuse('format', 'address', "must be the address of Ray's dashboard", mend)];
}

function tokenRefusals(config: RayConfig): Refusal[] {
  const refusals: Refusal[] = [];
  for (const field of ['tokenFile', 'caFile', 'certFile', 'keyFile'] as const) {
    const path = config[field];
    if (path !== undefined && (typeof path !== 'string' || !isAbsolute(path))) {
      refusals.push(refuse('format', field, 'must be an absolute path', 'write the full path'));
    }
  }
  if ((config.certFile === undefined) !== (config.keyFile === undefined)) {
    const missing = config.certFile === undefined ? 'certFile' : 'keyFile';
    refusals.push(refuse('required', missing, 'is missing', 'name the certificate and its key, or neither'));
  }
  const { tokenFile, tokenSecret } = config;
  if (tokenFile !== undefined && tokenSecret !== undefined)
    refusals.push(refuse('conflict', 'tokenSecret', 'stands beside tokenFile', 'keep one of the two'));
  if (tokenSecret !== undefined) refusals.push(...secretRefusals(tokenSecret));
  if (tokenFile === undefined && tokenSecret === undefined && config.allowUnauthenticated !== true) {
    const mend =
      'name the token file, or tokenSecret, or set allowUnauthenticated: true for a cluster that anybody who reaches it may use';
    refusals.push(refuse('required', 'tokenFile', 'is missing', mend));
  }
  return refusals;
}

function secretRefusals(secret: unknown): readonly Refusal[] {
  const texts = typeof secret === 'object' && secret !== null && !Array.isArray(secret) ? secret : {};
  const wrong = Object.entries({ awsSecret: undefined, ...texts }).filter(
    ([, text]) => typeof text !== 'string' || text === '',
  );
  const refusals = wrong.map(([name]) =>
    refuse('type', `tokenSecret.${name}`, 'must be a text', 'write the ARN or the name of a secret, never the token'),
  );
  const { endpoint } = texts as { readonly endpoint?: unknown };
  if (typeof endpoint !== 'string') return refusals;
  const ruled = ruleEndpoint('tokenSecret.endpoint', endpoint);
  return ruled.ok ? refusals : [...refusals, ruled.refusal];
}

function integerRefusal(field: string, value: unknown, least: number, most: number): Refusal[] {
  if (value === undefined || (Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most))
    return [];
  return [refuse('range', field, 'is out of range', `write a whole number from ${least} to ${most}`)];
}

function flavourRefusals(flavours: readonly RayFlavour[] | undefined): Refusal[] {
  if (flavours === undefined) return [];
  if (flavours.length === 0 || flavours.length > FLAVOURS_LIMIT) {
    return [refuse('range', 'flavours', `holds ${flavours.length}`, `name 1 to ${FLAVOURS_LIMIT}, or leave it out`)];
  }
  const refusals = flavours.flatMap((flavour, index) => oneFlavourRefusals(flavour, `flavours/${index}`));
  for (const field of ['name', 'resource'] as const) {
    const given = flavours.map((flavour) => flavour[field]).filter((value) => value !== undefined);
    if (new Set(given).size < given.length) {
      refusals.push(refuse('duplicate', 'flavours', `two have the same ${field}`, `give each its own ${field}`));
    }
  }
  const unmarked = flavours.some(({ resource, labels }) => resource === undefined && labels === undefined);
  if (flavours.length > 1 && unmarked) {
    const mend = 'give each flavour the custom resource, or the labels, of its nodes';
    const problem = 'several flavours need a resource or labels each to be told apart';
    refusals.push(refuse('required', 'flavours', problem, mend));
  }
  return refusals;
}

function oneFlavourRefusals(flavour: RayFlavour, field: string): Refusal[] {
  const refusals: Refusal[] = [];
  const name = slugRefusal(`${field}/name`, String(flavour.name));
  if (name !== undefined) refusals.push(name);
  if (flavour.resource !== undefined && !/^[A-Za-z0-9_.:-]{1,128}$/.test(flavour.resource)) {
    refusals.push(
      refuse('charset', `${field}/resource`, 'is not the name of a Ray resource', 'use A-Z a-z 0-9 _ . : -'),
    );
  }
  refusals.push(...labelRefusals(`${field}/labels`, flavour.labels));
  if (flavour.currency !== undefined && !/^[A-Z]{3}$/.test(flavour.currency)) {
    refusals.push(refuse('format', `${field}/currency`, 'is not a currency code', 'write three capitals, as in USD'));
  }
  refusals.push(...integerRefusal(`${field}/centsPerUnitHour`, flavour.centsPerUnitHour, 0, Number.MAX_SAFE_INTEGER));
  return refusals;
}
