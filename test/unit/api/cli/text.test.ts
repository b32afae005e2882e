import fc from 'fast-check';
import { expect, test } from 'vitest';
import { table } from '../../../../api/cli/render.ts';
import { oneLine, plainText, safeJson } from '../../../../api/cli/text.ts';

const ESC = '\u001b';

test.each([
  [`${ESC}[31mred${ESC}[0m`, 'red'],
  [`${ESC}]0;title\u0007text`, 'text'],
  [`${ESC}]8;;http://evil.example${ESC}\\link${ESC}]8;;${ESC}\\`, 'link'],
  [`${ESC}P1$q payload${ESC}\\after`, 'after'],
  ['\u009b2Jgone', 'gone'],
  [`${ESC}c reset`, ' reset'],
  ['a\u0000b\u0008c\u007fd', 'abcd'],
  ['pay\u202ella', 'paylla'],
  ['zero\u200bwidth', 'zerowidth'],
  ['tab\tand\nnewline stay', 'tab\tand\nnewline stay'],
  [`cut ${ESC}]0;never ended`, 'cut '],
])('C23: %j is shown as %j', (given, shown) => {
  expect(plainText(given)).toBe(shown);
});

test('C23: no text whatever leaves an escape or control character behind', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
      expect(plainText(text)).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/);
      expect(oneLine(text)).not.toContain('\n');
    }),
  );
});

test('C23: in JSON they are escaped, and the value is the same', () => {
  const value = { text: `${ESC}[31m\u009b\u202e\u0000` };
  const text = safeJson(value);
  expect(text).not.toContain('\u009b');
  expect(text).not.toContain('\u202e');
  expect(JSON.parse(text)).toEqual(value);
});

test('a table keeps one line a row, whatever its cells hold', () => {
  const text = table(
    [
      { head: 'NAME', cell: (row) => row.name },
      { head: 'X', cell: () => 1 },
    ],
    [{ name: `a\nb${ESC}[2J` }, { name: null }],
  );
  expect(text).toBe('NAME  X\na b   1\n–     1\n');
});
