import { contentHash } from '../../core/canonical.ts';
import type { Suite } from '../../core/suite.ts';

/** Equal for suites that differ in nothing that a report is checked by: one reading of it serves them all. */
export function readerKey({ document }: Suite): string {
  return contentHash([document.name ?? null, document.metrics ?? null, document.cohort ?? null]);
}

/** The first suite of each key, in order. */
export function readerSuites(suites: readonly Suite[]): readonly Suite[] {
  const byKey = new Map<string, Suite>();
  for (const suite of suites) if (!byKey.has(readerKey(suite))) byKey.set(readerKey(suite), suite);
  return [...byKey.values()];
}
