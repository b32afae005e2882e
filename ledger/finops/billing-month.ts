import type { BillingMonth } from './focus.ts';

/** `2026-11` as the UTC month; undefined: it is none. */
export function billingMonth(text: string): BillingMonth | undefined {
  const match = /^([0-9]{4})-(0[1-9]|1[0-2])$/.exec(text);
  if (match === null || match[1]! < '1970') return undefined;
  return numberedMonth(Number(match[1]) * 12 + Number(match[2]) - 1);
}

/** The month that an instant is in: months since the year 0, UTC. */
export function monthNumber(atMs: number): number {
  const at = new Date(atMs);
  return at.getUTCFullYear() * 12 + at.getUTCMonth();
}

export function numberedMonth(number: number): BillingMonth {
  const [year, month] = [Math.floor(number / 12), number % 12];
  return { startMs: Date.UTC(year, month, 1), endMs: Date.UTC(year, month + 1, 1) };
}
