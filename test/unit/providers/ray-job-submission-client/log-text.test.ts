import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LogText } from '../../../../providers/ray-job-submission-client/src/log-text.ts';

/** JSON as Python writes it: everything beyond ASCII as \u escapes. */
function pythonJson(logs: string): string {
  return `{"logs": ${JSON.stringify(logs).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)}}`;
}

function read(reply: Buffer, cuts: readonly number[], fromByte: number, maxBytes: number): LogText {
  const text = new LogText(fromByte, maxBytes);
  let at = 0;
  for (const cut of [...cuts, reply.length]) {
    text.push(reply.subarray(at, cut));
    at = Math.max(at, cut);
  }
  return text;
}

describe('a log taken out of its JSON as it streams in', () => {
  test('is the same bytes as parsing the whole, for any text, any chunks and any range', () => {
    const anyReply = fc.tuple(fc.string({ unit: 'binary', maxLength: 60 }), fc.boolean());
    const anyRange = fc.tuple(fc.nat(100), fc.integer({ min: 1, max: 100 }));
    fc.assert(
      fc.property(anyReply, fc.array(fc.nat(300), { maxLength: 8 }), anyRange, ([logs, escaped], cuts, [from, max]) => {
        const reply = Buffer.from(escaped ? pythonJson(logs) : JSON.stringify({ logs }), 'utf8');
        const sorted = cuts.map((cut) => Math.min(cut, reply.length)).sort((a, b) => a - b);
        const text = read(reply, sorted, from, max);
        const expected = Buffer.from(logs, 'utf8').subarray(from, from + max);
        expect(text.result().equals(expected)).toBe(true);
        expect(text.problem).toBeUndefined();
      }),
    );
  });

  test('asks for no more of the reply once it has enough', () => {
    const text = new LogText(0, 3);
    text.push(Buffer.from('{"logs":"abcdef'));
    expect(text.done).toBe(true);
    expect(text.result().toString()).toBe('abc');
  });

  test.each([
    ['a reply cut inside the text', '{"logs": "abc', /cut short/],
    ['a reply that is something else', `{"error": "${'x'.repeat(100)}"}`, /no logs/],
    ['an escape that JSON does not know', '{"logs": "a\\q"}', /malformed/],
    ['nothing', '', /cut short/],
  ])('refuses %s', (_what, reply, problem) => {
    const text = read(Buffer.from(reply), [], 0, 100);
    text.result();
    expect(text.problem).toMatch(problem);
  });

  test('refuses bytes that are not UTF-8', () => {
    const text = new LogText(0, 100);
    text.push(Buffer.from([0x7b, 0xc3, 0x28]));
    expect(text.problem).toMatch(/UTF-8/);
  });
});
