/**
 * Long proofs with many like cases, and the longest files: `npm test` runs a fifth of them, another fifth each day; CI and `npm run test:chaos` run all of
 * them. MERIT_PROOFS=whole asks for all.
 */
const PARTS = 5;

/** Every case of the long proofs is asked for. */
export const isWhole = process.env.MERIT_PROOFS === 'whole';

/** The cases that are due today. */
export function dueToday<T>(cases: readonly T[], todayMs = Date.now()): readonly T[] {
  if (isWhole) return cases;
  const day = Math.floor(todayMs / 86_400_000);
  return cases.filter((_, i) => (i + day) % PARTS === 0);
}
