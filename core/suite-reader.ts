import type { Json } from './canonical.ts';
import { durationMs } from './duration.ts';
import { nameRefusal } from './ids.ts';
import { isJsonObject, JSON_MAX_DEPTH, type JsonObject } from './json.ts';
import { type Refusal, refuse } from './refusal.ts';

interface NumberLimits {
  readonly min?: number;
  readonly max?: number;
  /** The default; without one the member is required. */
  readonly missing?: number;
}

/**
 * Reads the members of one map of a suite and collects every refusal, so that one run tells them all. A refused member
 * reads as a harmless stand-in (NaN, '', the default): the caller throws at the end if anything was refused.
 */
export class MapReader {
  readonly #refusals: Refusal[];
  readonly #path: string;
  readonly value: JsonObject;

  /** Members outside `known` are refused; undefined: the keys are names of the user's own. */
  constructor(refusals: Refusal[], path: string, value: JsonObject, known: readonly string[] | undefined) {
    this.#refusals = refusals;
    this.#path = path;
    this.value = value;
    for (const key of Object.keys(value)) {
      if (known !== undefined && !known.includes(key)) {
        this.refuse('unknown_field', key, 'is unknown', `use ${known.join(', ')}`);
      }
    }
  }

  /** `key` '' means the map itself. */
  refuse(code: string, key: string, problem: string, mend: string): void {
    this.#refusals.push(refuse(code, this.#field(key), problem, mend));
  }

  #field(key: string): string {
    return [this.#path, key].filter((part) => part !== '').join('.');
  }

  has(key: string): boolean {
    return Object.hasOwn(this.value, key);
  }

  #member(key: string): Json | undefined {
    return this.has(key) ? this.value[key] : undefined;
  }

  keys(): readonly string[] {
    return Object.keys(this.value).sort();
  }

  map(key: string, known: readonly string[] | undefined): MapReader | undefined {
    const value = this.#member(key);
    if (value === undefined) return undefined;
    if (isJsonObject(value)) return new MapReader(this.#refusals, this.#field(key), value, known);
    this.refuse('type', key, 'must be a map', 'write it as {name: value}');
    return undefined;
  }

  /** As map, and a missing one reads as empty: its members then take their defaults. */
  mapOrEmpty(key: string, known: readonly string[]): MapReader {
    return this.map(key, known) ?? new MapReader(this.#refusals, this.#field(key), {}, known);
  }

  literal(key: string, expected: string): void {
    if (this.#member(key) !== expected) {
      this.refuse('value', key, `must be ${expected}`, `write ${key}: ${expected}`);
    }
  }

  name(key: string): string {
    const value = this.#member(key);
    if (typeof value !== 'string') {
      this.refuse('type', key, value === undefined ? 'is missing' : 'must be a string', 'give it as text');
      return '';
    }
    const refusal = nameRefusal(this.#field(key), value);
    if (refusal !== undefined) this.#refusals.push(refusal);
    return value;
  }

  /** `__proto__` fits the character set, but no JSON object can carry it. */
  metricName(key: string): void {
    const refusal = nameRefusal(this.#field(key), key);
    if (refusal !== undefined) this.#refusals.push(refusal);
    else if (key === '__proto__') this.refuse('forbidden_key', key, 'cannot be a metric name', 'rename it');
  }

  text(key: string, missing: string): string {
    const value = this.#member(key);
    if (value === undefined) return missing;
    if (typeof value === 'string') return value;
    this.refuse('type', key, 'must be a string', `write ${missing}`);
    return missing;
  }

  durationMs(key: string, text: string, minMs: number, maxMs: number): number {
    // A cooldown may be none at all.
    const ms = text === '0s' ? 0 : durationMs(text);
    if (ms === undefined) this.refuse('duration', key, 'is no duration', 'write 90s, 15m, 6h or 7d');
    else if (ms < minMs || ms > maxMs) {
      this.refuse('range', key, `must be ${minMs / 1_000} to ${maxMs / 1_000} seconds long`, 'write 15m or 6h');
    }
    return ms ?? Number.NaN;
  }

  number(key: string, limits: NumberLimits): number {
    const value = this.has(key) ? this.value[key] : limits.missing;
    if (typeof value !== 'number') {
      this.refuse('number', key, value === undefined ? 'is missing' : 'must be a finite number', 'give a number');
      return Number.NaN;
    }
    const { min = -Number.MAX_VALUE, max = Number.MAX_VALUE } = limits;
    if (value < min || value > max) this.refuse('range', key, `must be ${min} to ${max}`, 'change the number');
    return value + 0;
  }

  integer(key: string, limits: NumberLimits): number {
    const value = this.number(key, limits);
    if (!Number.isNaN(value) && !Number.isInteger(value)) {
      this.refuse('integer', key, 'must be a whole number', 'drop the fraction');
    }
    return value;
  }

  flag(key: string, missing: boolean): boolean {
    const value = this.has(key) ? this.value[key] : missing;
    if (typeof value === 'boolean') return value;
    this.refuse('type', key, 'must be true or false', 'write true or false');
    return missing;
  }

  choice<Word extends string>(key: string, words: readonly [Word, ...Word[]], missing: Word | undefined): Word {
    const value = this.has(key) ? this.value[key] : missing;
    const found = words.find((word) => word === value);
    if (found !== undefined) return found;
    const problem = value === undefined ? 'is missing' : `must be ${words.join(' or ')}`;
    this.refuse('value', key, problem, `write one of ${words.join(', ')}`);
    return words[0];
  }
}

/** The path of the first part that is no JSON value; dates, functions, cycles and infinities cannot be hashed. */
export function notJson(value: unknown): string | undefined {
  return notJsonAt(value, '', 1);
}

function notJsonAt(value: unknown, path: string, depth: number): string | undefined {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return undefined;
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : path;
  if (typeof value !== 'object' || depth > JSON_MAX_DEPTH) return path;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (!Array.isArray(value) && prototype !== Object.prototype && prototype !== null) return path;
  for (const [key, inner] of Object.entries(value)) {
    const at = notJsonAt(inner, path === '' ? key : `${path}.${key}`, depth + 1);
    if (at !== undefined) return at;
  }
  return undefined;
}
