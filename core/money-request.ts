import { AMOUNT, minorUnits } from './currency.ts';
import { durationMs } from './duration.ts';
import { DEFAULT_LEASE_MS, type JobSpec, MAX_LEASE_MS } from './job.ts';
import { type Refusal, RefusedInput, refuse } from './refusal.ts';
import { check, type Static, Type } from './schema.ts';

/** Money for a division, or an agent of it, without any compute: what is asked for, and the spec that it is booked by. */

const strict = { additionalProperties: false } as const;
const slug = { maxLength: 63, pattern: '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$' };

export const MoneyRequest = Type.Object(
  {
    division: Type.String(slug),
    amount: Type.String(AMOUNT),
    currency: Type.String({ pattern: '^[A-Z]{3}$' }),
    purpose: Type.String({
      minLength: 1,
      maxLength: 500,
      description: 'for the people who sign it, and for the trail',
    }),
    agent: Type.Optional(Type.String({ ...slug, description: 'who spends it' })),
    lease: Type.Optional(Type.String({ maxLength: 16, description: 'how long it is theirs; absent: 1h' })),
  },
  { ...strict, $id: 'https://merit.local/schemas/money-request.json', title: 'Merit money request' },
);
type MoneyRequest = Static<typeof MoneyRequest>;

/** The part of a spec that makes it one of money alone. */
export interface MoneyAsk {
  /** Minor units. */
  readonly cents: string;
  readonly currency: string;
  readonly purpose: string;
  readonly agent?: string;
}

const MIN_LEASE_MS = 10_000;
/** How long after its time is over, or it is cancelled, what was spent of it may still be said. */
const CLOSE_GRACE_MS = 10 * 60_000;

export type MoneySpec = JobSpec & { readonly money: MoneyAsk };

/** Throws RefusedInput with every problem at once. Pure. */
export function moneySpec(value: unknown): MoneySpec {
  const refusals: Refusal[] = [...check(MoneyRequest, value)];
  if (refusals.length > 0) throw new RefusedInput(refusals);
  const { division, amount, currency, purpose, agent, lease } = value as MoneyRequest;
  const cents = minorUnits('amount', amount, currency);
  if (typeof cents !== 'bigint') refusals.push(cents);
  else if (cents === 0n) refusals.push(refuse('range', 'amount', 'is nothing', 'ask for more than 0'));
  const leaseMs = lease === undefined ? DEFAULT_LEASE_MS : durationMs(lease);
  if (leaseMs === undefined) refusals.push(refuse('duration', 'lease', 'is not a duration', 'write 30m, 2h or 1d'));
  else if (leaseMs < MIN_LEASE_MS || leaseMs > MAX_LEASE_MS)
    refusals.push(refuse('range', 'lease', 'must be between 10s and 30d', 'change it'));
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return {
    name: agent ?? 'money',
    division,
    model: null,
    workdir: null,
    gpuMilli: 0,
    cpuMilli: 0,
    memoryMib: 0,
    pools: [],
    leaseMs: leaseMs as number,
    graceMs: CLOSE_GRACE_MS,
    priority: 0,
    maxCostCents: null,
    maxRestarts: 0,
    envs: {},
    parameters: {},
    run: '',
    outputs: null,
    money: { cents: String(cents), currency, purpose, ...(agent === undefined ? {} : { agent }) },
  };
}
