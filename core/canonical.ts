import { createHash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { assert } from './assert.ts';

/** Any JSON value, read-only. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** The RFC 8785 form of a JSON value as text. */
export function canonicalText(value: unknown): string {
  const text = canonicalize(value);
  assert(text !== undefined, 'canonicalText: the value has no JSON form');
  return text;
}

/** The RFC 8785 form of a JSON value as UTF-8 bytes. */
export function canonicalBytes(value: unknown): Buffer {
  return Buffer.from(canonicalText(value), 'utf8');
}

/** SHA-256 as lower-case hex. */
export function sha256Hex(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** SHA-256 of the RFC 8785 form, lower-case hex. */
export function contentHash(value: unknown): string {
  return sha256Hex(canonicalBytes(value));
}
