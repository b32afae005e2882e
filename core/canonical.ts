import { hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { assert } from './assert.ts';

/** Any JSON value, read-only. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/**
 * The RFC 8785 form of a JSON value as text. Of a value whose keys are in order it is what JSON.stringify writes, in a third of the time: so values of
 * few levels are put in order first, and all others are the library's, whose words refuse them.
 */
export function canonicalText(value: unknown): string {
  const plain = inOrder(value, MAX_PLAIN_LEVELS);
  const text = plain === undefined ? canonicalize(value) : JSON.stringify(plain);
  assert(text !== undefined, 'canonicalText: the value has no JSON form');
  return text;
}

/** Nothing we sign is deeper; no stack grows without a limit. */
const MAX_PLAIN_LEVELS = 32;

/** An equal value with its keys in order, itself where they are; undefined: none that JSON.stringify would write in RFC 8785 form. */
function inOrder(value: unknown, levels: number): unknown {
  switch (typeof value) {
    case 'string':
      return value.isWellFormed() ? value : undefined;
    case 'number':
      return Number.isFinite(value) ? value : undefined;
    case 'boolean':
      return value;
    case 'object':
      if (value === null || levels === 0) return value === null ? null : undefined;
      if (Array.isArray(value)) return itemsInOrder(value, levels - 1);
      return Object.getPrototypeOf(value) === Object.prototype && !('toJSON' in value)
        ? membersInOrder(value as Readonly<Record<string, unknown>>, levels - 1)
        : undefined;
    default:
      return undefined;
  }
}

function itemsInOrder(items: readonly unknown[], levels: number): readonly unknown[] | undefined {
  if (Object.getPrototypeOf(items) !== Array.prototype || 'toJSON' in items) return undefined;
  let copy: unknown[] | undefined;
  for (let at = 0; at < items.length; at++) {
    const item = inOrder(items[at], levels);
    if (item === undefined) return undefined;
    if (copy === undefined && item !== items[at]) copy = items.slice(0, at);
    copy?.push(item);
  }
  return copy ?? items;
}

function membersInOrder(members: Readonly<Record<string, unknown>>, levels: number): object | undefined {
  let last = '';
  let isSorted = true;
  let copy: Record<string, unknown> | undefined;
  for (const key in members) {
    if (key < last) isSorted = false;
    last = key;
    // Keys like these do not keep the place they are put in.
    if (key === '__proto__' || isDigit(key.charCodeAt(0)) || !key.isWellFormed()) return undefined;
    const value = inOrder(members[key], levels);
    if (value === undefined) return undefined;
    if (value === members[key]) continue;
    copy ??= { ...members };
    copy[key] = value;
  }
  if (isSorted) return copy ?? members;
  const ordered: Record<string, unknown> = {};
  for (const key of Object.keys(members).sort()) ordered[key] = (copy ?? members)[key];
  return ordered;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

/** The RFC 8785 form of a JSON value as UTF-8 bytes. */
export function canonicalBytes(value: unknown): Buffer {
  return Buffer.from(canonicalText(value), 'utf8');
}

/** SHA-256 as lower-case hex. */
export function sha256Hex(bytes: Uint8Array | string): string {
  return hash('sha256', bytes, 'hex');
}

/** SHA-256 of the RFC 8785 form, lower-case hex. */
export function contentHash(value: unknown): string {
  return sha256Hex(canonicalBytes(value));
}
