import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CHECK_NAMES, proxiedBackend, runKit } from '../../providers/merit-provider/src/kit/index.ts';
import rayProvider from '../../providers/ray/adapter.ts';
import { rayForTests, rayMissing, type TestRay } from '../support/ray.ts';
import { dueToday } from '../support/rotating.ts';

const missing = rayMissing();

/** What a real Ray, and a proxy before it, cannot be made to show here. */
const NOT_HERE = [
  'config-refused',
  'capacity-denied',
  'quota-exceeded',
  'eventual-consistency',
  'unknown-status',
  'slow-start',
  'foreign-untouched',
  'paging',
  'partial-list',
  'mass-disappearance',
  'preemption-notice',
  'release-queued',
  'clock-skew',
];
const due = dueToday(CHECK_NAMES.filter((name) => !NOT_HERE.includes(name)));

describe.skipIf(missing !== undefined)(`the kit on a real Ray${missing === undefined ? '' : ` (${missing})`}`, () => {
  let ray: TestRay;
  beforeAll(async () => {
    ray = await rayForTests();
  });
  afterAll(() => ray?.stop());

  test('finds nothing that the Ray provider does not keep', async () => {
    const { address, tokenFile } = ray;
    const config = { address, tokenFile, stopGraceSeconds: 2, flavours: [{ name: 'a', resource: 'pool_a' }] };
    const report = await runKit(rayProvider, { backend: proxiedBackend(config, 'address'), only: due });
    const wrong = report.checks.filter(({ verdict }) => verdict !== 'passed');
    expect(wrong).toEqual([]);
    expect(report.passed).toBe(due.length);
  }, 900_000);
});
