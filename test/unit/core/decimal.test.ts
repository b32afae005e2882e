import { expect, test } from 'vitest';
import { decimalText } from '../../../core/decimal.ts';

test.each([
  [1500n, 3, 0, '1.5'],
  [2000n, 3, 0, '2'],
  [7n, 3, 0, '0.007'],
  [0n, 3, 0, '0'],
  [1250n, 2, 2, '12.50'],
  [5n, 2, 2, '0.05'],
  [-1250n, 2, 2, '-12.50'],
])('%s of scale %s, %s digits kept, reads %s', (value, scale, atLeast, text) => {
  expect(decimalText(value, scale, atLeast)).toBe(text);
});
