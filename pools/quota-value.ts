import { type Static, Type } from '../core/schema.ts';

export const Slug = Type.String({ maxLength: 63, pattern: '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$' });
export const Units = Type.Integer({ minimum: 0, maximum: 1_000_000 });
const Limit = Type.Optional(Type.Union([Units, Type.Null()], { description: 'null, or absent: unlimited' }));

/** What an owner has of a flavour, in whole GPUs, or CPUs where the flavour has none. A number alone is its nominal quota. */
export const QuotaValue = Type.Union([
  Units,
  Type.Object({ nominal: Units, borrow: Limit, lend: Limit }, { additionalProperties: false }),
]);
export type QuotaValue = Static<typeof QuotaValue>;

export interface MilliQuota {
  readonly nominalMilli: number;
  /** null: unlimited. */
  readonly borrowMilli: number | null;
  readonly lendMilli: number | null;
}

/** The same in milli-units; who has none has nothing, and may borrow and lend without limit inside its group. */
export function milliQuota(value: QuotaValue | undefined): MilliQuota {
  if (value === undefined || typeof value === 'number')
    return { nominalMilli: (value ?? 0) * 1000, borrowMilli: null, lendMilli: null };
  return {
    nominalMilli: value.nominal * 1000,
    borrowMilli: value.borrow == null ? null : value.borrow * 1000,
    lendMilli: value.lend == null ? null : value.lend * 1000,
  };
}
