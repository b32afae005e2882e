import { currencyScale } from '../core/currency.ts';
import { type Refusal, RefusedInput, refuse } from '../core/refusal.ts';
import { check, type Static, Type } from '../core/schema.ts';

const Slug = Type.String({ maxLength: 63, pattern: '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$' });
const Units = Type.Integer({ minimum: 0, maximum: 1_000_000 });
const Money = Type.String({ maxLength: 24, pattern: '^(0|[1-9][0-9]{0,12})(\\.[0-9]{2})?$' });
const Currency = Type.String({ pattern: '^[A-Z]{3}$' });

/** A pool as a file: what it has, what it costs, who may use how much of it, and which provider runs it. */
export const PoolFile = Type.Object(
  {
    apiVersion: Type.Literal('merit/v1'),
    kind: Type.Literal('Pool'),
    name: Slug,
    provider: Type.Object(
      { kind: Type.String({ maxLength: 64 }), config: Type.Optional(Type.Record(Type.String(), Type.Unknown())) },
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
          spot: Type.Optional(Type.Boolean()),
          price: Type.Object({ currency: Currency, perUnitHour: Money }, { additionalProperties: false }),
        },
        { additionalProperties: false },
      ),
      { minItems: 1, maxItems: 64 },
    ),
    /** division → flavour → units. */
    quotas: Type.Record(Slug, Type.Record(Slug, Units)),
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
  const names = new Set<string>();
  for (const [i, flavour] of pool.flavours.entries()) {
    const strange = currencyRefusal(`flavours.${i}.price.currency`, flavour.price.currency);
    if (strange !== undefined) refusals.push(strange);
    if (names.has(flavour.name))
      refusals.push(refuse('duplicate', `flavours.${i}.name`, 'names a flavour twice', 'rename one'));
    names.add(flavour.name);
    const granted = Object.values(pool.quotas).reduce((sum, quota) => sum + (quota[flavour.name] ?? 0), 0);
    if (granted > flavour.capacity && pool.overcommit !== true) {
      refusals.push(
        refuse(
          'overcommit',
          'quotas',
          `grant ${granted} of ${flavour.name}, which has ${flavour.capacity}`,
          'lower the quotas or set overcommit: true',
        ),
      );
    }
  }
  for (const [division, quota] of Object.entries(pool.quotas)) {
    for (const flavour of Object.keys(quota)) {
      if (!names.has(flavour))
        refusals.push(
          refuse(
            'unknown_flavour',
            `quotas.${division}.${flavour}`,
            'is no flavour of this pool',
            'name one of its flavours',
          ),
        );
    }
  }
  const currencies = new Set(pool.flavours.map((flavour) => flavour.price.currency));
  if (currencies.size > 1)
    refusals.push(refuse('currency', 'flavours', 'are priced in several currencies', 'use one currency a pool'));
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return pool;
}

/** A checked budget; throws RefusedInput with every problem at once. */
export function parseBudget(value: unknown): BudgetFile {
  const refusals = check(BudgetFile, value);
  if (refusals.length > 0) throw new RefusedInput(refusals);
  const budget = value as BudgetFile;
  const strange = currencyRefusal('currency', budget.currency);
  if (strange !== undefined) throw new RefusedInput([strange]);
  return budget;
}
