import { expect, test } from 'vitest';
import { plannedMilli, thereOf } from '../../../pools/pool-health.ts';

const THERE = { totalGpuMilli: 6000n, freeGpuMilli: 2000n, totalCpuMilli: 64_000n, freeCpuMilli: 1000n };
const HEALTH = { away: undefined, there: [{ flavour: 'a', ...THERE }] };
const live = { name: 'a', resource: 'gpu', liveCapacity: true } as const;

test('what is there is told in the flavour’s own resource, and of no flavour that was not named', () => {
  expect(thereOf(HEALTH, 'a', 'gpu')).toEqual({ totalMilli: 6000n, freeMilli: 2000n });
  expect(thereOf(HEALTH, 'a', 'cpu')).toEqual({ totalMilli: 64_000n, freeMilli: 1000n });
  expect(thereOf(HEALTH, 'b', 'gpu')).toBeUndefined();
});

test.each([
  ['where its capacity is live, no more than is there', 8000n, live, 6000n],
  ['nor more than is declared', 4000n, live, 4000n],
  ['where its provider does not say what is there, what is declared', 8000n, { ...live, name: 'b' }, 8000n],
  ['where it is not live, what is declared', 8000n, { ...live, liveCapacity: false }, 8000n],
  ['and that where nothing is said of it', 8000n, { name: 'a', resource: 'gpu' } as const, 8000n],
])('a flavour is planned with: %s', (_, declared, flavour, planned) => {
  expect(plannedMilli(declared, flavour, HEALTH)).toBe(planned);
});
