import { describe, expect, test } from 'vitest';
import { t975, Z95 } from '../../../../scoring/rules/student.ts';

/** P(|T| ≤ t) for even df, a finite sum (Abramowitz and Stegun 26.7.4). */
function withinEven(t: number, df: number): number {
  const cos2 = df / (df + t * t);
  let term = 1;
  let sum = 1;
  for (let k = 2; k < df; k += 2) {
    term *= ((k - 1) / k) * cos2;
    sum += term;
  }
  return Math.sqrt(1 - cos2) * sum;
}

/** The same for odd df (Abramowitz and Stegun 26.7.3). */
function withinOdd(t: number, df: number): number {
  const theta = Math.atan(t / Math.sqrt(df));
  const cos = Math.cos(theta);
  let term = cos;
  let sum = df === 1 ? 0 : cos;
  for (let k = 3; k < df; k += 2) {
    term *= ((k - 1) / k) * cos * cos;
    sum += term;
  }
  return (2 / Math.PI) * (theta + Math.sin(theta) * sum);
}

describe('t₀.₉₇₅', () => {
  test('has 95 % of the distribution between its two sides, in the table and beyond it', () => {
    for (let df = 1; df <= 120; df++) {
      const within = df % 2 === 0 ? withinEven(t975(df), df) : withinOdd(t975(df), df);
      expect(Math.abs(within - 0.95), `at ${df}`).toBeLessThan(5e-15);
    }
    for (const df of [1000, 100_000]) expect(Math.abs(withinEven(t975(df), df) - 0.95)).toBeLessThan(2e-13);
  });

  test('is tan(0.475·π) at one degree of freedom and falls towards z without a step', () => {
    expect(Math.abs(t975(1) / Math.tan(0.475 * Math.PI) - 1)).toBeLessThan(1e-12);
    for (let df = 1; df < 500; df++) expect(t975(df + 1)).toBeLessThan(t975(df));
    const step = (df: number) => t975(df) - t975(df + 1);
    expect(step(50) / step(49)).toBeCloseTo(step(51) / step(50), 2);
    expect(t975(1e15)).toBeCloseTo(Z95, 12);
  });
});
