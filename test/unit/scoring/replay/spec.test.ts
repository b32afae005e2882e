import { describe, expect, test } from 'vitest';
import { RefusedInput } from '../../../../core/refusal.ts';
import {
  compareVectors,
  isBefore,
  isWithin,
  join,
  messagesBetween,
  recordedVector,
  type Vector,
  vectorKey,
  vectorOf,
} from '../../../../scoring/ingest/vector.ts';
import { paceOf } from '../../../../scoring/replay/pace.ts';
import { replaySpec, specHash } from '../../../../scoring/replay/spec.ts';
import { random } from '../../../integration/scoring-online-support.ts';

describe('what a replay is asked to do', () => {
  test('is read strictly, and told all at once where it is wrong', () => {
    const wrong = { into: 'live', from: 'yesterday', source: 'tape', rate: 0 };
    try {
      replaySpec(wrong);
      expect.unreachable();
    } catch (error) {
      expect((error as RefusedInput).refusals.map(({ field }) => field)).toEqual(['from', 'into', 'source', 'rate']);
    }
  });

  test.each([
    ['2026-01-02T00:00:00Z', '2026-01-01T00:00:00Z'],
    ['10', '9'],
  ])('begins no later than it ends (%s, %s)', (from, to) => {
    expect(() => replaySpec({ into: 'shadow', from, to })).toThrow(RefusedInput);
    expect(replaySpec({ into: 'shadow', from: to, to: from }).from).not.toBeNull();
  });

  test('is the same at another rate, and another one with another range, source or suite', () => {
    const hash = (more: object) => specHash(replaySpec({ into: 'shadow', ...more }));
    expect(hash({ rate: 5 })).toBe(hash({}));
    const suite = {
      apiVersion: 'merit/v1',
      kind: 'Suite',
      name: 's',
      metrics: { a: { direction: 'higher', floor: 0, ceil: 1 } },
    };
    expect(
      new Set([hash({}), hash({ from: '3' }), hash({ to: '3' }), hash({ source: 'log' }), hash({ suite })]).size,
    ).toBe(5);
  });
});

describe('places in several partitions', () => {
  const next = random(5);
  const some = (): Vector =>
    new Map(
      [0, 1, 2]
        .filter(() => next() < 0.8)
        .map((p) => [p, { offset: BigInt(Math.floor(next() * 3)), line: Math.floor(next() * 2) }]),
    );
  const triples = Array.from({ length: 300 }, () => [some(), some()] as const);

  test('are recorded and read back', () => {
    for (const [a] of triples) expect(vectorKey(vectorOf(recordedVector(a)))).toBe(vectorKey(a));
  });

  test('are ordered so that what is within another comes before it', () => {
    for (const [a, b] of triples) {
      if (isWithin(a, b) && !isWithin(b, a)) expect(compareVectors(a, b)).toBeLessThan(0);
      expect(vectorKey(a) === vectorKey(b)).toBe(isWithin(a, b) && isWithin(b, a));
    }
  });

  test('both are within what joins them, and nothing less is', () => {
    for (const [a, b] of triples) {
      const both = join(a, b);
      expect(isWithin(a, both) && isWithin(b, both)).toBe(true);
      for (const [partition, at] of both)
        expect([a.get(partition), b.get(partition)].some((one) => one !== undefined && !isBefore(one, at))).toBe(true);
    }
  });

  test('the messages between them are counted', () => {
    const at = (offsets: readonly bigint[]): Vector => new Map(offsets.map((offset, p) => [p, { offset, line: 0 }]));
    expect(messagesBetween(at([1n, 2n]), at([5n, 2n, 3n]))).toBe(7);
  });
});

describe('the pace', () => {
  const clock = () => {
    let now = 0;
    const pass = (ms: number) => {
      now += ms;
    };
    return { now: () => now, sleep: async (ms: number) => pass(ms), pass };
  };

  test('holds reports to so many a second on the average, whatever the size of what comes', async () => {
    const time = clock();
    const pace = paceOf(time, 100, new AbortController().signal);
    for (const reports of [1, 50, 400, 1, 1, 547]) await pace(reports);
    expect(time.now()).toBeGreaterThan(9_000);
    expect(time.now()).toBeLessThanOrEqual(10_000);
  });

  test('what was not used in a pause is not caught up', async () => {
    const time = clock();
    const pace = paceOf(time, 100, new AbortController().signal);
    await pace(1);
    time.pass(60_000);
    await pace(1_000);
    expect(time.now()).toBeGreaterThan(69_000);
  });

  test('is none where none was asked for', async () => {
    const time = clock();
    await paceOf(time, null, new AbortController().signal)(1e9);
    expect(time.now()).toBe(0);
  });
});
