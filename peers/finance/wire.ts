import type { Refusal } from '../../core/refusal.ts';
import { check, type Static, Type } from '../../core/schema.ts';
import { centsOf, Money } from '../money.ts';
import { Id, Name, Sha256, Slug, WireReason } from '../wire.ts';

/**
 * Finance's wire, version 1. `holdId` is chosen by the client and makes every call repeatable.
 *   POST /v1/holds                     HoldRequest → 200 Hold (held, or refused) · 409 problem: another request under this id
 *   POST /v1/holds/{holdId}/confirm    {}                → 200 Hold (confirmed) · 404 · 409
 *   POST /v1/holds/{holdId}/settle     {amount: Money}   → 200 Hold (settled: this much is spent, the rest is free) · 404 · 409
 *   POST /v1/holds/{holdId}/reverse    {tenant}          → 200 Hold (reversed) · 409
 *   GET  /v1/holds/{holdId}            → 200 Hold · 404
 *   GET  /v1/holds?tenant=…&since=…&limit=…   → 200 HoldPage, in order of last change
 *   POST /v1/reports/{reportId}/parts/{n}   ReportPart    → 200 {id} · 409 problem: another part under this number
 *   POST /v1/reports                        MonthReport   → 200 {id} · 409 problem: another report, or parts that do not come to its hash
 * Reversing an id that Finance never saw records it as reversed: a hold request that is still under way comes too late.
 */
export const HOLDS_PATH = '/v1/holds';
export const MAX_PAGE = 500;

export const REPORTS_PATH = '/v1/reports';

const strict = { additionalProperties: false };

export const HoldId = Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9._-]+$' });

export const HoldRequest = Type.Object(
  {
    holdId: HoldId,
    tenant: Slug,
    division: Slug,
    bookingId: Name,
    attempt: Type.Integer({ minimum: 1, maximum: 1_000_000 }),
    amount: Money,
  },
  strict,
);
export type HoldRequest = Readonly<Static<typeof HoldRequest>>;

export const SettleRequest = Type.Object({ amount: Money }, strict);
export const ReverseRequest = Type.Object({ tenant: Slug }, strict);
export const ConfirmRequest = Type.Object({}, strict);

export const HOLD_STATUSES = ['held', 'confirmed', 'settled', 'reversed', 'refused'] as const;
export type HoldStatus = (typeof HOLD_STATUSES)[number];

/** Unknown members of an answer are kept in the evidence and mean nothing to us. */
export const Hold = Type.Object({
  holdId: HoldId,
  tenant: Slug,
  status: Type.Union(HOLD_STATUSES.map((status) => Type.Literal(status))),
  /** The request as it came; null where it was reversed before any request came. */
  request: Type.Union([HoldRequest, Type.Null()]),
  /** Set when settled. */
  settled: Type.Union([Money, Type.Null()]),
  /** Set when refused. */
  reason: Type.Union([WireReason, Type.Null()]),
});
export interface Hold {
  readonly holdId: string;
  readonly tenant: string;
  readonly status: HoldStatus;
  readonly request: HoldRequest | null;
  readonly settled: Money | null;
  readonly reason: Readonly<Static<typeof WireReason>> | null;
}

/** An opaque position among the changes; '0' is before all of them. */
const Cursor = Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9._-]+$' });

export const HoldPage = Type.Object({
  holds: Type.Array(Hold, { maxItems: MAX_PAGE }),
  /** Where the next page, or a later look, goes on. */
  cursor: Cursor,
  more: Type.Boolean(),
});
export interface HoldPage {
  readonly holds: readonly Hold[];
  readonly cursor: string;
  readonly more: boolean;
}

/** Everything wrong with a value that claims to be a Hold: its shape, its amounts' scale, and what its status demands. */
export function holdRefusals(value: unknown): readonly Refusal[] {
  const refusals = [...check(Hold, value)];
  if (refusals.length > 0) return refusals;
  const hold = value as Hold;
  const asked = hold.request === null ? undefined : centsOf('request.amount', hold.request.amount);
  const settled = hold.settled === null ? undefined : centsOf('settled', hold.settled);
  for (const cents of [asked, settled]) if (cents !== undefined && typeof cents !== 'bigint') refusals.push(cents);
  if (refusals.length > 0) return refusals;
  const bad = (field: string, problem: string) =>
    refusals.push({ code: 'inconsistent', field, problem, mend: 'the peer must mend it' });
  if (hold.request === null && hold.status !== 'reversed') bad('request', 'is missing');
  if (hold.request !== null && (hold.request.holdId !== hold.holdId || hold.request.tenant !== hold.tenant))
    bad('request', 'is of another hold');
  if ((hold.settled !== null) !== (hold.status === 'settled')) bad('settled', 'does not fit the status');
  if ((hold.reason !== null) !== (hold.status === 'refused')) bad('reason', 'does not fit the status');
  if (hold.settled !== null && hold.request !== null) {
    if (hold.settled.currency !== hold.request.amount.currency) bad('settled.currency', 'is not that of the hold');
    else if ((settled as bigint) > (asked as bigint)) bad('settled', 'is more than was held');
  }
  return refusals;
}

/** What was spent in a month, as FOCUS, in parts that follow each other. */
export const ReportPart = Type.Object({ id: Id, text: Type.String({ minLength: 1, maxLength: 48 * 1024 }) }, strict);

export const MonthReport = Type.Object(
  {
    format: Type.Literal('merit-month-report/1'),
    /** Of the tenant and the month: the same again is the same report. */
    id: Id,
    tenant: Slug,
    month: Type.String({ pattern: '^[0-9]{4}-(0[1-9]|1[0-2])$' }),
    parts: Type.Integer({ minimum: 1, maximum: 1_000_000 }),
    /** Of all parts together. */
    sha256: Sha256,
    totals: Type.Array(Type.Object({ division: Slug, settled: Money }, strict), { maxItems: 10_000 }),
  },
  strict,
);
export type MonthReport = Readonly<Static<typeof MonthReport>>;
