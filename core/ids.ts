import { type Refusal, refuse } from './refusal.ts';

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** An org: the unit of row-level security. */
export type TenantId = Branded<'TenantId'>;
export type DivisionName = Branded<'DivisionName'>;
/** 26 characters of Crockford base 32 (ULID), lower case; also the public allocation id. */
export type BookingId = Branded<'BookingId'>;

const NAME = /^[A-Za-z0-9._-]{1,64}$/;
const SLUG = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const ULID = /^[0-9a-hjkmnp-tv-z]{26}$/;

/** Names of reports, producers, models, suites and metrics: 1–64 of [A-Za-z0-9._-]. */
export function nameRefusal(field: string, value: string): Refusal | undefined {
  if (value.length <= 64 && NAME.test(value)) return undefined;
  return refuse('charset', field, 'must be 1 to 64 characters of A-Z a-z 0-9 . _ -', 'rename it');
}

/** Names of pools, divisions, tenants, flavours: 1–63 of [a-z0-9-], no dash at either end. */
export function slugRefusal(field: string, value: string): Refusal | undefined {
  if (value.length > 63) return refuse('length', field, 'is longer than 63 characters', 'shorten it');
  if (SLUG.test(value)) return undefined;
  return refuse('charset', field, 'must be a-z, 0-9 and inner dashes', 'rename it');
}

export function isBookingId(value: string): value is BookingId {
  return ULID.test(value);
}

/** The key of an attempt at a provider; Ray takes [A-Za-z0-9_-] only. */
export function attemptKey(bookingId: BookingId, attempt: number): string {
  return `m-${bookingId}-${attempt}`;
}

/** The producer under which a job's own reports are taken in. */
export function jobProducer(bookingId: string): string {
  return `job-${bookingId}`;
}

const CROCKFORD = '0123456789abcdefghjkmnpqrstvwxyz';

/**
 * A ULID in lower case from a time and 10 random bytes: sorts by time. Pure: the caller brings both.
 * Source: github.com/ulid/spec.
 */
export function ulid(nowMs: number, random: Uint8Array): BookingId {
  let bits = BigInt(nowMs) << 80n;
  for (let i = 0; i < 10; i++) bits |= BigInt(random[i] ?? 0) << BigInt(8 * (9 - i));
  let text = '';
  for (let i = 25; i >= 0; i--) text += CROCKFORD[Number((bits >> BigInt(5 * i)) & 31n)];
  return text as BookingId;
}
