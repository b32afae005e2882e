/** Instants as RFC 3339 text, read strictly and written with milliseconds and Z. */

const DAY_MS = 86_400_000;
const RFC3339 =
  /^([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))$/;
/** Longer than any sensible number of digits; bounds the work on hostile input. */
const MAX_TEXT = 64;
/** 0001-01-01T00:00:00Z and the end of year 9999: what has a four-digit year with room for window starts before it. */
const MIN_WRITABLE_MS = -62_135_596_800_000;
const MAX_WRITABLE_MS = 253_402_300_799_999;

/**
 * Milliseconds since the epoch of an RFC 3339 date-time with a zone; digits after the millisecond are cut off, the
 * second 60 is refused. Undefined where the text is anything else, or names a day or time that does not exist.
 */
export function parseRfc3339(text: string): number | undefined {
  if (text.length > MAX_TEXT) return undefined;
  const match = RFC3339.exec(text);
  if (match === null) return undefined;
  const year = Number(match[1]);
  const month = Number(match[2]);
  const day = Number(match[3]);
  const hour = Number(match[4]);
  const minute = Number(match[5]);
  const second = Number(match[6]);
  if (month < 1 || month > 12 || day < 1 || day > daysInMonth(year, month)) return undefined;
  if (hour > 23 || minute > 59 || second > 59) return undefined;
  const offsetMinutes = match[8] === undefined ? 0 : zoneMinutes(match[8], match[9]!, match[10]!);
  if (offsetMinutes === undefined) return undefined;
  const millisecond = match[7] === undefined ? 0 : Number(`${match[7]}00`.slice(0, 3));
  const minutes = hour * 60 + minute - offsetMinutes;
  return daysFromCivil(year, month, day) * DAY_MS + minutes * 60_000 + second * 1_000 + millisecond;
}

function zoneMinutes(sign: string, hours: string, minutes: string): number | undefined {
  const h = Number(hours);
  const m = Number(minutes);
  if (h > 23 || m > 59) return undefined;
  return sign === '-' ? -(h * 60 + m) : h * 60 + m;
}

function daysInMonth(year: number, month: number): number {
  if (month === 2) return isLeap(year) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

function isLeap(year: number): boolean {
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
}

/**
 * Days since 1970-01-01 in the proleptic Gregorian calendar. Date.UTC is no help: it moves the years 0–99 to 1900.
 * Source: Howard Hinnant, chrono-compatible low-level date algorithms, days_from_civil.
 */
function daysFromCivil(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year;
  const era = Math.floor(y / 400);
  const yearOfEra = y - era * 400;
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}

/** Can the instant, and a window start some days before it, be written with a four-digit year? */
export function isWritableInstant(ms: number): boolean {
  return Number.isInteger(ms) && ms >= MIN_WRITABLE_MS && ms <= MAX_WRITABLE_MS;
}

/** RFC 3339 with milliseconds and Z, e.g. 2026-11-23T10:15:00.000Z. */
export function formatRfc3339(ms: number): string {
  return new Date(ms).toISOString();
}
