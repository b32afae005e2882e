/**
 * Long proofs with many like cases: `npm test` runs a third of them, another third each day; CI and `npm run test:chaos` run all of them.
 * MERIT_PROOFS=whole asks for all.
 */
const THIRDS = 3;

/** The cases that are due today. */
export function dueToday<T>(cases: readonly T[], todayMs = Date.now()): readonly T[] {
  if (process.env.MERIT_PROOFS === 'whole') return cases;
  const day = Math.floor(todayMs / 86_400_000);
  return cases.filter((_, i) => (i + day) % THIRDS === 0);
}
