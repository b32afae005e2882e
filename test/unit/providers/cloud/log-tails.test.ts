import { expect, test } from 'vitest';
import { LogTails } from '../../../../providers/cloud/log-tails.ts';
import { ProviderError, type ProviderErrorCode } from '../../../../providers/provider.ts';

const signal = new AbortController().signal;
const PAGES = Array.from({ length: 10 }, (_, page) => `page ${page}\n`);
const whole = PAGES.join('');

/** A log in pages, of which a service gives `quota` before it throws. */
function throttled(quota: number, code: ProviderErrorCode): { readonly tails: LogTails; readonly asked: number[] } {
  const asked: number[] = [];
  let left = quota;
  const tails = new LogTails(async () => {
    let next = 0;
    return {
      more: async () => {
        if (left-- === 0) {
          left = quota;
          throw new ProviderError(code, 'no more now');
        }
        asked.push(next);
        return next < PAGES.length ? Buffer.from(PAGES[next++]!) : undefined;
      },
    };
  });
  return { tails, asked };
}

const read = async (tails: LogTails, fromByte: number) =>
  Buffer.from(await tails.read('m-b1-1', fromByte, 7, signal)).toString('utf8');

test.each(['transient', 'auth'] as const)(
  'a place that several readings reach, each ended by an error that passes (%s), is reached, and no page is read twice',
  async (code) => {
    const { tails, asked } = throttled(3, code);
    const far = whole.length - 7;
    for (let reading = 0; reading < 3; reading++) await expect(read(tails, far)).rejects.toMatchObject({ code });
    expect(await read(tails, far)).toBe('page 9\n');
    expect(asked).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  },
);

test('a log whose reading failed for good is read from its beginning', async () => {
  const { tails, asked } = throttled(3, 'invalid');
  expect(await read(tails, 7)).toBe('page 1\n');
  await expect(read(tails, 21)).rejects.toMatchObject({ code: 'invalid' });
  expect(await read(tails, 14)).toBe('page 2\n');
  expect(asked).toEqual([0, 1, 2, 0, 1, 2]);
});
