import { expect, test } from 'vitest';
import { readRetryAfterMs } from '../../../platform/retry-after.ts';

test.each([
  ['7', 7_000],
  ['0', 0],
  ['1.0001', 1_001],
  ['-1', undefined],
  ['', undefined],
  ['Fri, 31 Dec 1999 23:59:59 GMT', undefined],
  ['Infinity', undefined],
  [['7', '8'], undefined],
  [undefined, undefined],
])('Retry-After %j is %s ms', (header, ms) => {
  expect(readRetryAfterMs(header)).toBe(ms);
});
