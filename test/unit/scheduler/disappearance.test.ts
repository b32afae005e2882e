import { expect, test } from 'vitest';
import { Disappearances, isMassDisappearance } from '../../../scheduler/reconcile/disappearance.ts';

const tell = (all: Disappearances, count: number, running: number, nowMs: number) =>
  Array.from({ length: count }, (_, i) => all.missing('p', `k${i}`, running, nowMs));

test('a job that is missing in two looks is lost, one that comes back is not', () => {
  const all = new Disappearances();
  expect(all.missing('p', 'k', 1, 0)).toBe('look_again');
  expect(all.missing('p', 'k', 1, 1_999)).toBe('look_again');
  expect(all.missing('p', 'k', 1, 2_000)).toBe('lost');
  all.seen('p', 'k');
  expect(all.missing('p', 'k', 1, 3_000)).toBe('look_again');
});

test('more than a fifth missing within a minute are all kept, in their own pool only', () => {
  const all = new Disappearances();
  expect(tell(all, 5, 24, 0)).toEqual(['look_again', 'look_again', 'look_again', 'look_again', 'halted']);
  expect(tell(all, 5, 24, 10_000)).toEqual(Array(5).fill('halted'));
  expect(all.missing('q', 'k', 24, 10_000)).toBe('look_again');
});

test('a fifth, or few, are believed', () => {
  const all = new Disappearances();
  tell(all, 5, 25, 0);
  expect(tell(all, 5, 25, 2_000)).toEqual(Array(5).fill('lost'));
  const few = new Disappearances();
  tell(few, 4, 4, 0);
  expect(tell(few, 4, 4, 2_000)).toEqual(Array(4).fill('lost'));
});

test('what has not been looked for in a minute no longer counts', () => {
  const all = new Disappearances();
  tell(all, 5, 10, 0);
  expect(all.missing('p', 'late', 10, 60_001)).toBe('look_again');
  expect(isMassDisappearance(5, 10)).toBe(true);
});

test('what was looked for just a minute ago still does', () => {
  const all = new Disappearances();
  tell(all, 5, 10, 0);
  expect(all.missing('p', 'late', 10, 60_000)).toBe('halted');
});

test('once enough are seen again the rest are believed to be lost', () => {
  const all = new Disappearances();
  tell(all, 6, 20, 0);
  all.seen('p', 'k0');
  all.seen('p', 'k1');
  expect(all.missing('p', 'k5', 20, 5_000)).toBe('lost');
});
