import type { ReportFault } from './report.ts';

const MAX_DEPTH = 32;

/** What of a value would not arrive as it is, or be refused: JSON.stringify writes NaN as null, and drops functions, without a word. */
export function faultOfValue(value: unknown, field = '', depth = 0, underConstructor = false): ReportFault | undefined {
  if (value === null || typeof value === 'boolean') return undefined;
  if (typeof value === 'number')
    return Number.isFinite(value) ? undefined : { code: 'number', field, problem: 'is not finite' };
  if (typeof value === 'string') return textFault(value, field);
  if (typeof value !== 'object')
    return { code: 'schema', field, problem: `is a ${typeof value}, which JSON has none of` };
  if (depth === MAX_DEPTH) return { code: 'depth', field, problem: `is nested deeper than ${MAX_DEPTH}` };
  if (Array.isArray(value)) {
    for (const [i, one] of value.entries()) {
      const fault = faultOfValue(one, `${field}.${i}`, depth + 1);
      if (fault !== undefined) return fault;
    }
    return undefined;
  }
  const prototype = Object.getPrototypeOf(value) as unknown;
  if (prototype !== Object.prototype && prototype !== null)
    return { code: 'schema', field, problem: 'is no plain object: write it as one' };
  for (const [name, one] of Object.entries(value)) {
    const path = field === '' ? name : `${field}.${name}`;
    if (name === '__proto__' || (underConstructor && name === 'prototype'))
      return { code: 'forbidden_key', field: path, problem: 'would reach an object prototype' };
    const fault =
      textFault(name, path) ??
      (one === undefined ? undefined : faultOfValue(one, path, depth + 1, name === 'constructor'));
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function textFault(text: string, field: string): ReportFault | undefined {
  if (text.includes('\u0000')) return { code: 'encoding', field, problem: 'holds NUL' };
  return text.isWellFormed() ? undefined : { code: 'encoding', field, problem: 'holds a lone surrogate' };
}
