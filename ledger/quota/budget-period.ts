import type { Tx } from '../../platform/postgres.ts';
import { budgetAccount, ensureAccounts, type LimitChange, setLimit, spendAccount } from './account.ts';

export type PeriodLength = 'day' | 'week' | 'month';

/** Half open: from `startsAtMs` to `endsAtMs`. */
export interface BudgetPeriod {
  /** 2026-11-26, 2026-W48 (ISO 8601: weeks begin on Mondays), 2026-11. */
  readonly id: string;
  readonly startsAtMs: number;
  readonly endsAtMs: number;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** No local time is further from UTC (+14:00, −12:00), a change of it included. */
const MAX_OFFSET_MS = 16 * HOUR_MS;

/**
 * The period that a moment lies in, by the calendar of an IANA time zone; the zone was checked. A day without midnight begins when its first
 * moment comes.
 */
export function budgetPeriod(length: PeriodLength, timeZone: string, atMs: number): BudgetPeriod {
  const day = localDay(timeZone, atMs);
  let first = firstDay(length, day);
  let startsAtMs = startOfDay(timeZone, first);
  if (startsAtMs > atMs) {
    // A clock that is put back just after midnight has shown the new day for a moment: it begins when it comes for good.
    first = firstDay(length, first - 1);
    startsAtMs = startOfDay(timeZone, first);
  }
  return { id: idOf(length, first), startsAtMs, endsAtMs: startOfDay(timeZone, nextFirstDay(length, first)) };
}

/**
 * The accounts of a division's money in one period, opened when the first that needs them comes. Periods have accounts of their own: what was held or
 * spent in one stays booked to it, whenever it is posted, voided or refunded, and the next begins with all of its limit. The limit of one that is
 * open is set anew; below what it holds and has spent it leaves drain debt.
 */
export async function openBudgetPeriod(
  tx: Tx,
  of: {
    readonly tenant: string;
    readonly division: string;
    readonly currency: string;
    readonly period: string;
    readonly limitMinor: bigint;
  },
): Promise<{ readonly budget: string; readonly spend: string; readonly change: LimitChange }> {
  const { tenant, division, currency, period, limitMinor } = of;
  const budget = budgetAccount(tenant, division, currency, period);
  const spend = spendAccount(tenant, division, currency, period);
  await ensureAccounts(tx, [
    { id: budget, tenant, kind: 'budget', division, unit: currency, limit: limitMinor },
    { id: spend, tenant, kind: 'spend', division, unit: currency },
  ]);
  return { budget, spend, change: await setLimit(tx, budget, limitMinor) };
}

/** Days are counted from 1970-01-01. */
function dateOf(day: number): { readonly year: number; readonly month: number; readonly weekday: number } {
  const date = new Date(day * DAY_MS);
  return { year: date.getUTCFullYear(), month: date.getUTCMonth(), weekday: (date.getUTCDay() + 6) % 7 };
}

function firstDay(length: PeriodLength, day: number): number {
  const { year, month, weekday } = dateOf(day);
  if (length === 'day') return day;
  return length === 'week' ? day - weekday : Date.UTC(year, month, 1) / DAY_MS;
}

function nextFirstDay(length: PeriodLength, first: number): number {
  const { year, month } = dateOf(first);
  if (length === 'day') return first + 1;
  return length === 'week' ? first + 7 : Date.UTC(year, month + 1, 1) / DAY_MS;
}

function idOf(length: PeriodLength, first: number): string {
  const text = new Date(first * DAY_MS).toISOString();
  if (length === 'day') return text.slice(0, 10);
  if (length === 'month') return text.slice(0, 7);
  // A week belongs to the year of its Thursday.
  const { year } = dateOf(first + 3);
  const week = Math.floor((first + 3 - Date.UTC(year, 0, 1) / DAY_MS) / 7) + 1;
  return `${year}-W${String(week).padStart(2, '0')}`;
}

/** When the zone's calendar comes to show the day or a later one: searched, since clocks change at any time of day. */
function startOfDay(timeZone: string, day: number): number {
  let before = day * DAY_MS - MAX_OFFSET_MS;
  let from = day * DAY_MS + MAX_OFFSET_MS;
  while (from - before > 1) {
    const middle = Math.floor((before + from) / 2);
    if (localDay(timeZone, middle) >= day) from = middle;
    else before = middle;
  }
  return from;
}

const formats = new Map<string, Intl.DateTimeFormat>();

function localDay(timeZone: string, atMs: number): number {
  let format = formats.get(timeZone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-US', { timeZone, year: 'numeric', month: 'numeric', day: 'numeric' });
    formats.set(timeZone, format);
  }
  const part = (type: 'year' | 'month' | 'day', parts: readonly Intl.DateTimeFormatPart[]) =>
    Number(parts.find((one) => one.type === type)?.value);
  const parts = format.formatToParts(atMs);
  return Date.UTC(part('year', parts), part('month', parts) - 1, part('day', parts)) / DAY_MS;
}
