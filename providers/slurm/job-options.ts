import type { Refusal } from '../../core/refusal.ts';
import { schemaRefusals } from '../cloud/option-check.ts';
import { CONSTRAINT_PATTERN, NAME_PATTERN } from './config.ts';

/** What a job may ask of Slurm alone: `options: {slurm: {…}}` in its file. */
export interface SlurmJobOptions {
  /** One of those that the pool names. */
  readonly account?: string;
  readonly qos?: string;
  readonly reservation?: string;
  /** Besides the pool's and its flavour's: features of nodes. */
  readonly constraint?: string;
  /** As in `matlab:2`, with commas between. */
  readonly licenses?: string;
  /** How far it stands back behind the user's other jobs. */
  readonly nice?: number;
}

const ROOT = 'options.slurm';
const NICE_LIMIT = 2_147_483_645;

const jobOptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    account: { type: 'string', pattern: NAME_PATTERN },
    qos: { type: 'string', pattern: NAME_PATTERN },
    reservation: { type: 'string', pattern: NAME_PATTERN },
    constraint: { type: 'string', pattern: CONSTRAINT_PATTERN },
    licenses: { type: 'string', maxLength: 512, pattern: '^[A-Za-z0-9_.@-]+(:[0-9]+)?(,[A-Za-z0-9_.@-]+(:[0-9]+)?)*$' },
    nice: { type: 'integer', minimum: 0, maximum: NICE_LIMIT },
  },
} as const;

/** Where the schema's own words would not help. */
const MENDS: Readonly<Record<string, string>> = {
  account: 'write the name of an account, one of those that the pool names',
  qos: 'write the name of a QOS, one of those that the pool names',
  reservation: 'write the name of a reservation, one of those that the pool names',
  constraint: 'write features of nodes, as in a100&nvlink',
  licenses: 'write name or name:count, with commas between',
};

/** All that is wrong with `options.slurm` of a job; fields as they stand in its file. */
export function jobOptionsRefusals(value: unknown): readonly Refusal[] {
  return value === undefined ? [] : schemaRefusals(ROOT, jobOptionsSchema, MENDS, value);
}
