import { currencyScale } from '../core/currency.ts';
import { ownOf } from '../core/own.ts';
import { type Refusal, RefusedInput, refuse } from '../core/refusal.ts';
import { check, type Static, Type } from '../core/schema.ts';
import { isTimeZone, windowRefusals } from './off-peak.ts';
import { milliQuota, QuotaValue, Slug, Units } from './quota-value.ts';

const Money = Type.String({ maxLength: 24, pattern: '^(0|[1-9][0-9]{0,12})(\\.[0-9]{2})?$' });
const Currency = Type.String({ pattern: '^[A-Z]{3}$' });

/** A pool as a file: what it has, what it costs, who may use how much of it, and which provider runs it. */
export const PoolFile = Type.Object(
  {
    apiVersion: Type.Literal('merit/v1'),
    kind: Type.Literal('Pool'),
    name: Slug,
    provider: Type.Object(
      { kind: Type.String({ maxLength: 512 }), config: Type.Optional(Type.Record(Type.String(), Type.Unknown())) },
      { additionalProperties: false },
    ),
    /** Σ of the divisions' quotas may pass the capacity only where this is true. */
    overcommit: Type.Optional(Type.Boolean()),
    flavours: Type.Array(
      Type.Object(
        {
          name: Slug,
          resource: Type.Enum(['gpu', 'cpu']),
          /** Whole GPUs, or CPUs where the flavour has none. */
          capacity: Units,
          /** No more than the provider says is there now is planned with: nodes that are down, or not there yet. Not for what grows when work waits. */
          liveCapacity: Type.Optional(Type.Boolean()),
          /** What jobs ask for as `accelerators: H100:2`; absent: the flavour's own name. */
          gpuType: Type.Optional(Type.String({ maxLength: 32, pattern: '^[A-Za-z0-9][A-Za-z0-9._-]*$' })),
          /** Its machines. With any, each node of a job is placed on one. */
          nodes: Type.Optional(
            Type.Array(
              Type.Object(
                {
                  name: Type.String({ maxLength: 128, pattern: '^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$' }),
                  gpus: Type.Integer({ minimum: 1, maximum: 1024 }),
                },
                { additionalProperties: false },
              ),
              { minItems: 1, maxItems: 20_000 },
            ),
          ),
          spot: Type.Optional(Type.Boolean()),
          price: Type.Object({ currency: Currency, perUnitHour: Money }, { additionalProperties: false }),
        },
        { additionalProperties: false },
      ),
      { minItems: 1, maxItems: 64 },
    ),
    /** division → flavour → quota. */
    quotas: Type.Record(Slug, Type.Record(Slug, QuotaValue)),
    /** When jobs that ask for it may start. */
    offPeak: Type.Optional(
      Type.Array(
        Type.Object(
          {
            cron: Type.String({ maxLength: 128 }),
            duration: Type.String({ maxLength: 16 }),
            timeZone: Type.String({ maxLength: 64 }),
          },
          { additionalProperties: false },
        ),
        { minItems: 1, maxItems: 16 },
      ),
    ),
  },
  { additionalProperties: false, $id: 'https://merit.local/schemas/pool.json', title: 'Merit pool' },
);
export type PoolFile = Static<typeof PoolFile>;

/** A division's money: `{division: 'vision', currency: 'USD', limit: '100.00'}`. */
export const BudgetFile = Type.Object(
  {
    apiVersion: Type.Literal('merit/v1'),
    kind: Type.Literal('Budget'),
    division: Slug,
    currency: Currency,
    limit: Money,
    /** The limit is of each; periods begin at midnight, weeks on Mondays. Absent: one limit for good. */
    period: Type.Optional(Type.Enum(['day', 'week', 'month', 'quarter', 'year'])),
    /** IANA name of the zone whose midnight it is; absent: UTC. */
    timeZone: Type.Optional(Type.String({ maxLength: 64 })),
    /** Per cent of the limit, what is held counted, at which an audit event tells; absent: 80 and 100. */
    alertAt: Type.Optional(Type.Array(Type.Integer({ minimum: 1, maximum: 100 }), { maxItems: 10, uniqueItems: true })),
  },
  { additionalProperties: false, $id: 'https://merit.local/schemas/budget.json', title: 'Merit budget' },
);
export type BudgetFile = Static<typeof BudgetFile>;

/** Decimals of an amount of money in a file, and of every amount Merit reckons with: cents. */
const SCALE = 2;

/** Cents are what Finance is asked to hold: in yen they would be a hundred times too many, in dinars ten times too few. */
function currencyRefusal(field: string, currency: string): Refusal | undefined {
  const scale = currencyScale(currency);
  if (scale === SCALE) return undefined;
  const problem = `is ${currency}, which has ${scale} decimals where prices and budgets have ${SCALE}`;
  return refuse('currency', field, problem, 'use a currency of two decimals');
}

/** `12.50` → 1250n, `12` → 1200n. The schema has held its form. */
export function cents(text: string): bigint {
  const [whole = '0', fraction = '00'] = text.split('.');
  return BigInt(whole) * 100n + BigInt(fraction);
}

/** A checked pool; throws RefusedInput with every problem at once. */
export function parsePool(value: unknown): PoolFile {
  const refusals: Refusal[] = [...check(PoolFile, value)];
  if (refusals.length > 0) throw new RefusedInput(refusals);
  const pool = value as PoolFile;
  refusals.push(...flavourRefusals(pool), ...quotaRefusals(pool));
  for (const [i, window] of (pool.offPeak ?? []).entries()) refusals.push(...windowRefusals(window, `offPeak.${i}`));
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return pool;
}

function flavourRefusals(pool: PoolFile): readonly Refusal[] {
  const refusals: Refusal[] = [];
  const names = new Set<string>();
  for (const [i, flavour] of pool.flavours.entries()) {
    const strange = currencyRefusal(`flavours.${i}.price.currency`, flavour.price.currency);
    if (strange !== undefined) refusals.push(strange);
    if (names.has(flavour.name))
      refusals.push(refuse('duplicate', `flavours.${i}.name`, 'names a flavour twice', 'rename one'));
    names.add(flavour.name);
    refusals.push(...nodeRefusals(flavour, `flavours.${i}`));
  }
  const currencies = new Set(pool.flavours.map((flavour) => flavour.price.currency));
  if (currencies.size > 1)
    refusals.push(refuse('currency', 'flavours', 'are priced in several currencies', 'use one currency a pool'));
  return refusals;
}

function nodeRefusals(flavour: PoolFile['flavours'][number], field: string): readonly Refusal[] {
  const { nodes, resource, capacity, gpuType } = flavour;
  const refusals: Refusal[] = [];
  if (resource !== 'gpu') {
    for (const [name, value] of Object.entries({ gpuType, nodes }))
      if (value !== undefined)
        refusals.push(refuse('conflict', `${field}.${name}`, 'is of a flavour without GPUs', 'remove it'));
  }
  if (nodes === undefined) return refusals;
  const names = new Set<string>();
  for (const [i, { name }] of nodes.entries()) {
    if (names.has(name))
      refusals.push(refuse('duplicate', `${field}.nodes.${i}.name`, 'names a node twice', 'rename one'));
    names.add(name);
  }
  const gpus = nodes.reduce((sum, node) => sum + node.gpus, 0);
  if (gpus < capacity) {
    const problem = `have ${gpus} GPUs together, and the capacity is ${capacity}`;
    refusals.push(refuse('capacity', `${field}.nodes`, problem, 'lower the capacity or add the missing nodes'));
  }
  return refusals;
}

/** What groups have of the pool is added by `documentRefusals`, which knows them. */
function quotaRefusals(pool: PoolFile): readonly Refusal[] {
  const refusals: Refusal[] = [];
  const names = new Set(pool.flavours.map((flavour) => flavour.name));
  for (const flavour of pool.flavours) {
    const granted = Object.values(pool.quotas).reduce(
      (sum, quota) => sum + milliQuota(ownOf(quota, flavour.name)).nominalMilli / 1000,
      0,
    );
    if (granted <= flavour.capacity || pool.overcommit === true) continue;
    const problem = `grant ${granted} of ${flavour.name}, which has ${flavour.capacity}`;
    refusals.push(refuse('overcommit', 'quotas', problem, 'lower the quotas or set overcommit: true'));
  }
  for (const [division, quota] of Object.entries(pool.quotas)) {
    for (const flavour of Object.keys(quota)) {
      if (names.has(flavour)) continue;
      const field = `quotas.${division}.${flavour}`;
      refusals.push(refuse('unknown_flavour', field, 'is no flavour of this pool', 'name one of its flavours'));
    }
  }
  return refusals;
}

/** A checked budget; throws RefusedInput with every problem at once. */
export function parseBudget(value: unknown): BudgetFile {
  const refusals = check(BudgetFile, value);
  if (refusals.length > 0) throw new RefusedInput(refusals);
  const budget = value as BudgetFile;
  const problems: Refusal[] = [currencyRefusal('currency', budget.currency) ?? []].flat();
  if (budget.timeZone !== undefined) {
    if (budget.period === undefined)
      problems.push(refuse('conflict', 'timeZone', 'is of a budget without a period', 'add period: … or remove it'));
    if (!isTimeZone(budget.timeZone))
      problems.push(
        refuse('time_zone', 'timeZone', 'is no time zone', 'write an IANA name such as Europe/Berlin or UTC'),
      );
  }
  if (problems.length > 0) throw new RefusedInput(problems);
  return budget;
}
