import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = resolve(import.meta.dirname, '../../../..');
const RULES = join(ROOT, 'scoring/rules');

/** Shapes, wiring and sums of what others computed. */
const WITHOUT_FORMULA = ['decision.ts', 'oracle.ts', 'pane-table.ts', 'published.ts', 'rollout.ts', 'window-sums.ts'];

test('each file of the rules with a formula names its source, and each section it names is there', () => {
  const sections = readFileSync(join(ROOT, 'docs/scoring.md'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('## '))
    .map((line) => line.slice('## '.length));
  const files = readdirSync(RULES);
  expect(WITHOUT_FORMULA.filter((file) => !files.includes(file))).toEqual([]);
  const wrong = files.flatMap((file) => {
    const text = readFileSync(join(RULES, file), 'utf8').replaceAll(/\s+\*?\s*/g, ' ');
    if (!WITHOUT_FORMULA.includes(file) && !/\bSource\b/.test(text)) return [`${file} names no source`];
    const named = [...text.matchAll(/docs\/scoring\.md,? ([^.;(*]+)/g)].map((match) => match[1]!);
    return named
      .filter((words) => !words.startsWith('exactly') && !sections.some((section) => words.startsWith(section)))
      .map((words) => `${file} names the section ${words}`);
  });
  expect(wrong).toEqual([]);
});
