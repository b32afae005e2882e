import { durationMs } from '../../core/duration.ts';
import { type Refusal, refuse } from '../../core/refusal.ts';
import { parseRfc3339 } from '../../core/rfc3339.ts';
import type { Amounts } from '../../pools/planner-input.ts';

/** Decimals of an amount of money in a scenario. */
const MONEY_SCALE = 2;

/** Reads the values of a scenario; what is wrong is collected, and something harmless stands in its place. */
export class ScenarioValues {
  readonly refusals: Refusal[] = [];

  refuse(code: string, field: string, problem: string, mend: string): void {
    this.refusals.push(refuse(code, field, problem, mend));
  }

  /** 1.5 → 1500. */
  milli(field: string, value: number): number {
    const text = String(value);
    if (/^[0-9]+(\.[0-9]{1,3})?$/.test(text)) return Math.round(value * 1000);
    this.refuse('scale', field, 'has more than 3 decimals', 'round it to 3 decimals');
    return 0;
  }

  amounts(field: string, value: Readonly<Record<string, number>>): Amounts {
    return Object.fromEntries(
      Object.entries(value).map(([resource, amount]) => [resource, this.milli(`${field}.${resource}`, amount)]),
    );
  }

  limit(field: string, value: number | null | undefined): number | null {
    return value === null || value === undefined ? null : this.milli(field, value);
  }

  instant(field: string, value: string): number {
    const atMs = parseRfc3339(value);
    if (atMs !== undefined) return atMs;
    this.refuse('time_format', field, 'is no RFC 3339 time with a zone', 'write 2026-11-23T10:00:00Z');
    return 0;
  }

  duration(field: string, value: string): number {
    const ms = value === '0' || value === '0s' ? 0 : durationMs(value);
    if (ms !== undefined) return ms;
    this.refuse('duration', field, 'is not a duration', 'write 30s, 5m or 1h');
    return 0;
  }

  /** `12.5` → 1250n. */
  money(field: string, value: string | number): bigint {
    const match = /^([0-9]{1,13})(?:\.([0-9]{1,2}))?$/.exec(String(value));
    if (match === null) {
      this.refuse('decimal_format', field, 'is no plain decimal with at most 2 decimals', 'write 12.50');
      return 0n;
    }
    return BigInt(match[1]! + (match[2] ?? '').padEnd(MONEY_SCALE, '0'));
  }

  /** Names that stand more than once in a list. */
  unique(field: string, names: readonly string[]): void {
    const seen = new Set<string>();
    for (const [i, name] of names.entries()) {
      if (seen.has(name)) this.refuse('duplicate', `${field}.${i}`, `${name} is there twice`, 'rename or remove one');
      seen.add(name);
    }
  }

  known(field: string, name: string, names: ReadonlySet<string>, what: string): void {
    if (!names.has(name))
      this.refuse(
        'unknown',
        field,
        `names the ${what} ${name}, which does not exist`,
        `add it, or name another ${what}`,
      );
  }
}
