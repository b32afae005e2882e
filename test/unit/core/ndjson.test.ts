import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Line, LineSplitter } from '../../../core/ndjson.ts';
import { bytesOf } from '../../support/scoring-reports.ts';

function split(text: string, cuts: readonly number[], maxBytes = 1024): readonly string[] {
  const seen: string[] = [];
  const show = (line: Line) =>
    seen.push(`${line.number}:${line.kind === 'line' ? Buffer.from(line.bytes).toString() : '(too long)'}`);
  const splitter = new LineSplitter(show, maxBytes);
  const bytes = bytesOf(text);
  let from = 0;
  for (const cut of [...cuts.map((at) => at % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]) {
    // A chunk that is overwritten after the call, as a reader with one buffer would do.
    const chunk = Uint8Array.from(bytes.subarray(from, cut));
    splitter.push(chunk);
    chunk.fill(0x21);
    from = cut;
  }
  splitter.finish();
  return seen;
}

describe('splitting lines', () => {
  test('lines and numbers do not depend on where chunks end', () => {
    const text = fc.array(fc.constantFrom('a', 'ä', '\n', '\r\n', ' ', '\t', 'long-long-long'), { maxLength: 40 });
    fc.assert(
      fc.property(text, fc.array(fc.nat(200), { maxLength: 8 }), (parts, cuts) => {
        const whole = parts.join('');
        expect(split(whole, cuts, 20)).toEqual(split(whole, [], 20));
      }),
      { numRuns: 500 },
    );
  });

  test('blank lines count as lines but are not given, and the last newline may be absent', () => {
    expect(split('a\n\n \t\r\nb\r\nc', [])).toEqual(['1:a', '4:b\r', '5:c']);
    expect(split('a\n', [])).toEqual(['1:a']);
    expect(split('', [])).toEqual([]);
  });

  test('a line of exactly the limit is given and one byte more is not, also in pieces', () => {
    expect(split('12345\n123456\n1', [], 5)).toEqual(['1:12345', '2:(too long)', '3:1']);
    expect(split('12345\n123456\n1', [2, 4, 7, 9, 11], 5)).toEqual(['1:12345', '2:(too long)', '3:1']);
    expect(split('123456', [3], 5)).toEqual(['1:(too long)']);
  });
});
