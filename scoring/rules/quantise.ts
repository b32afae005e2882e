/** |q| beyond this quarantines the report: 2^40. Source: docs/scoring.md, Exact arithmetic. */
export const MAX_Q = 2 ** 40;

/**
 * Adding and taking away 1.5·2^52 rounds a double below 2^51 to an integer, ties to even, in IEEE arithmetic alone
 * (IEEE 754-2019, 4.3.1): there doubles are one apart.
 */
const ROUNDER = 6755399441055744;

/** roundTiesToEven of a double with |v| < 2^51; never −0. */
export function roundTiesToEven(v: number): number {
  return v + ROUNDER - ROUNDER + 0;
}

/** q = roundTiesToEven(x × 10^scale), one IEEE product; undefined where |q| would pass 2^40. */
export function quantise(x: number, factor: number): number | undefined {
  const product = x * factor;
  // Not below 2^41 also catches an overflow to infinity, before the rounding trick is trusted.
  if (!(Math.abs(product) < 2 * MAX_Q)) return undefined;
  const q = roundTiesToEven(product);
  return Math.abs(q) <= MAX_Q ? q : undefined;
}
