import { expect, test } from 'vitest';
import { SharedLook } from '../../../../providers/cloud/shared-look.ts';
import { SteppedClock } from '../../../support/cloud/stepped-clock.ts';

interface Reading {
  readonly signal: AbortSignal;
  answer(value: string): void;
  fail(error: Error): void;
}

/** A look whose readings the test answers by hand. */
function looks(freshMs = 2_000) {
  const clock = new SteppedClock();
  const readings: Reading[] = [];
  const look = new SharedLook<string>(
    (signal) =>
      new Promise((resolve, reject) => {
        readings.push({ signal, answer: resolve, fail: reject });
        signal.addEventListener('abort', () => reject(new Error('aborted')));
      }),
    { doing: 'looking', freshMs, clock },
  );
  return { clock, readings, look };
}
const never = new AbortController().signal;

test('those who ask at once share one reading, and those who ask soon after its answer', async () => {
  const { clock, readings, look } = looks();
  const asked = [look.get(never), look.get(never)];
  expect(readings).toHaveLength(1);
  readings[0]!.answer('a');
  expect(await Promise.all(asked)).toEqual(['a', 'a']);
  clock.advance(1);
  expect(await look.get(never)).toBe('a');
  clock.advance(1);
  const later = look.get(never);
  expect(readings).toHaveLength(2);
  readings[1]!.answer('b');
  expect(await later).toBe('b');
});

test('what was asked for before a change is not told to who asks after it', async () => {
  const { readings, look } = looks();
  const before = look.get(never);
  look.forget();
  const after = look.get(never);
  expect(readings).toHaveLength(2);
  readings[1]!.answer('new');
  readings[0]!.answer('old');
  expect(await before).toBe('old');
  expect(await after).toBe('new');
  expect(await look.get(never)).toBe('new');
});

test('who gives up ends no other’s wait; a reading for which nobody waits any more is ended, and the next one is its own', async () => {
  const { readings, look } = looks();
  const one = new AbortController();
  const two = new AbortController();
  const asked = [look.get(one.signal), look.get(two.signal)].map((work) => work.catch((error: Error) => error.message));
  one.abort();
  expect(await asked[0]).toBe('stopped while looking');
  expect(readings[0]!.signal.aborted).toBe(false);
  two.abort();
  expect(await asked[1]).toBe('stopped while looking');
  expect(readings[0]!.signal.aborted).toBe(true);
  const next = look.get(never);
  readings[1]!.answer('b');
  expect(await next).toBe('b');
  await expect(look.get(AbortSignal.abort())).rejects.toMatchObject({ code: 'transient' });
});

test('a failure is told to all who wait for it, and is not kept', async () => {
  const { readings, look } = looks();
  const asked = [look.get(never), look.get(never)].map((work) => work.catch((error: Error) => error.message));
  readings[0]!.fail(new Error('away'));
  expect(await Promise.all(asked)).toEqual(['away', 'away']);
  const next = look.get(never);
  readings[1]!.answer('b');
  expect(await next).toBe('b');
});
