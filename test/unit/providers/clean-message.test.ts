import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cleanMessage, MESSAGE_LIMIT_BYTES } from '../../../providers/provider.ts';

describe('a message from a provider', () => {
  test('is at most 4 KiB without control or invisible characters, whatever comes in', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 400 }), fc.integer({ min: 1, max: 60 }), (part, times) => {
        const clean = cleanMessage(part.repeat(times));
        expect(Buffer.byteLength(clean)).toBeLessThanOrEqual(MESSAGE_LIMIT_BYTES);
        expect(clean).not.toMatch(/[\p{Cc}\p{Cf}\u2028\u2029]/u);
      }),
    );
  });

  test('of a 2 MB traceback keeps what failed and how it ended', () => {
    const clean = cleanMessage(`Job failed with exit code 1\n${'  File "x.py"\n'.repeat(150_000)}ValueError: the end`);
    expect(clean).toMatch(/^Job failed with exit code 1 {3}File/);
    expect(clean).toMatch(/ValueError: the end$/);
    expect(Buffer.byteLength(clean)).toBeLessThanOrEqual(MESSAGE_LIMIT_BYTES);
  });

  test('cuts no character in two', () => {
    expect(cleanMessage('😀'.repeat(3000))).not.toContain('\ufffd');
    expect(cleanMessage(`x${'ä'.repeat(5000)}`)).not.toContain('\ufffd');
  });

  test('loses terminal escapes whole and keeps short words as they are', () => {
    expect(cleanMessage('\u001b[1m\u001b[31mred\u001b[0m\u0000 \u202etxt')).toBe('red   txt');
    expect(cleanMessage('plain')).toBe('plain');
  });
});
