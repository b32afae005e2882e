import type { Schema } from 'simd-json-wasm';
import { describe, expect, test } from 'vitest';
import { Gatherer, readColumns } from './read-columns.ts';

const SCHEMA = { n: { type: 'number' }, more: { type: 'numbers', optional: true } } as const satisfies Schema;

function refusal(line: string | Uint8Array, schema: Schema = SCHEMA): readonly unknown[] | 'kept' {
  const good = Buffer.from('{"n":1}\n');
  const { kept, refused } = readColumns(schema, Buffer.concat([good, Buffer.from(line), Buffer.from('\n'), good]));
  const first = refused[0];
  if (schema === SCHEMA) {
    // Whatever is wrong with it: the lines before and after it are kept.
    expect(kept.map((row) => row.line)).toEqual(first === undefined ? [1, 2, 3] : [1, 3]);
    expect(refused.length).toBeLessThanOrEqual(1);
  }
  const own = refused.find((one) => one.line === 2);
  if (own === undefined) return 'kept';
  return own.column === undefined ? [own.reason, own.offset] : [own.reason, own.offset, own.column];
}

describe('a line that is no valid JSON is refused, with reason and place', () => {
  test.each([
    ['a text cut short', '{"n":', ['json_syntax', 5]],
    ['a text cut inside a key', '{"n', ['json_syntax', 3]],
    ['a text cut inside a string', '{"n":1,"s":"abc', ['json_syntax', 15]],
    ['a text cut behind a backslash', '{"s":"\\', ['json_syntax', 6]],
    ['something after the value', '{"n":1} x', ['json_syntax', 8]],
    ['two values on a line', '{"n":1}{"n":1}', ['json_syntax', 7]],
    ['a trailing comma in an object', '{"n":1,}', ['json_syntax', 7]],
    ['a trailing comma in a dictionary', '{"n":1,"more":{"a":1,}}', ['json_syntax', 21]],
    ['a trailing comma in a list', '{"n":1,"x":[1,]}', ['json_syntax', 14]],
    ['no comma', '{"n":1 "m":2}', ['json_syntax', 7]],
    ['no colon', '{"n" 1}', ['json_syntax', 5]],
    ['a key without quotes', '{n:1}', ['json_syntax', 1]],
    ['a single quote', "{'n':1}", ['json_syntax', 1]],
    ['a wrong bracket', '{"n":1]', ['json_syntax', 6]],
    ['a wrong word', '{"n":1,"x":nul}', ['json_syntax', 11]],
    ['a word in capitals', '{"n":1,"x":True}', ['json_syntax', 11]],
    ['a leading zero', '{"n":01}', ['json_syntax', 5]],
    ['a leading zero behind a minus', '{"n":-01}', ['json_syntax', 5]],
    ['a minus alone', '{"n":-}', ['json_syntax', 6]],
    ['a bare point', '{"n":1.}', ['json_syntax', 7]],
    ['a bare point behind many digits', '{"n":12345678901234567890.}', ['json_syntax', 26]],
    ['a leading point', '{"n":1,"x":.5}', ['json_syntax', 11]],
    ['a plus sign', '{"n":1,"x":+1}', ['json_syntax', 11]],
    ['a hexadecimal number', '{"n":0x10}', ['json_syntax', 6]],
    ['an empty exponent', '{"n":1e}', ['json_syntax', 7]],
    ['an empty exponent with a sign', '{"n":1e+}', ['json_syntax', 8]],
    ['a bare tab in a string', '{"n":1,"s":"a\tb"}', ['json_syntax', 13]],
    ['a bare tab in a key', '{"a\tb":1}', ['json_syntax', 3]],
    ['an unknown escape', '{"n":1,"s":"\\x"}', ['json_syntax', 12]],
    ['a broken escape of a code', '{"n":1,"s":"\\u00g0"}', ['json_syntax', 12]],
    ['a byte-order mark', '\uFEFF{"n":1}', ['json_syntax', 0]],
    ['a comment', '{"n":1} // x', ['json_syntax', 8]],
    ['a no-break space between tokens', '{\u00a0"n":1}', ['json_syntax', 1]],
    ['NaN', '{"n":1,"x":NaN}', ['number', 11]],
    ['NaN in a column', '{"n":NaN}', ['number', 5]],
    ['Infinity', '{"n":1,"x":[Infinity]}', ['number', 12]],
    ['minus Infinity', '{"n":-Infinity}', ['number', 5]],
    ['a number beyond doubles', '{"n":1e309}', ['number', 5]],
    ['a number beyond doubles by its digits', `{"n":${'9'.repeat(310)}}`, ['number', 5]],
    ['a negative number beyond doubles in a dictionary', '{"n":1,"more":{"a":-1e400}}', ['number', 19]],
    ['a duplicate key of a column', '{"n":1,"n":1}', ['duplicate_key', 7]],
    ['a duplicate key in disguise', '{"n":1,"\\u006e":2}', ['duplicate_key', 7]],
    ['a duplicate key that no column has', '{"n":1,"a":1,"a":1}', ['duplicate_key', 13]],
    ['a duplicate key in a dictionary', '{"n":1,"more":{"a":1,"b":1,"a":1}}', ['duplicate_key', 27]],
    ['a duplicate key deep down', '{"n":1,"x":[{"a":1,"a":1}]}', ['duplicate_key', 19]],
    ['a duplicate key around an object that has it too', '{"n":1,"x":{"a":{"a":1},"a":1}}', ['duplicate_key', 24]],
    ['a duplicate key before a missing colon', '{"n":1,"n"}', ['duplicate_key', 7]],
    ['a duplicate empty key', '{"n":1,"":1,"":1}', ['duplicate_key', 12]],
    ['__proto__', '{"n":1,"__proto__":{"role":"admin"}}', ['forbidden_key', 7]],
    ['__proto__ in disguise', '{"n":1,"__pr\\u006fto__":1}', ['forbidden_key', 7]],
    ['__proto__ in a dictionary', '{"n":1,"more":{"__proto__":1}}', ['forbidden_key', 15]],
    ['constructor.prototype', '{"n":1,"constructor":{"prototype":{"x":1}}}', ['forbidden_key', 22]],
    ['NUL as an escape', '{"n":1,"s":"\\u0000"}', ['encoding', 12]],
    ['NUL as a byte in a string', '{"n":1,"s":"\0"}', ['encoding', 12]],
    ['a lone high surrogate', '{"n":1,"s":"\\ud800"}', ['encoding', 12]],
    ['a lone low surrogate', '{"n":1,"s":"\\udc00"}', ['encoding', 12]],
    ['two high surrogates', '{"n":1,"s":"\\ud800\\ud800"}', ['encoding', 12]],
    ['a lone surrogate in a key', '{"n":1,"\\ud800":1}', ['encoding', 8]],
    ['100,000 open brackets', '['.repeat(100_000), ['depth', 32]],
    ['33 objects inside each other', `{"n":1,"x":${'{"a":'.repeat(32)}1${'}'.repeat(33)}`, ['depth', 11 + 31 * 5]],
    ['null', 'null', ['not_an_object', 0]],
    ['a list', ' [1]', ['not_an_object', 0]],
    ['a string', '"x"', ['not_an_object', 0]],
    ['a number', '-1.5e3', ['not_an_object', 0]],
  ] as const)('%s', (_name, line, expected) => {
    expect(refusal(line)).toEqual(expected);
  });

  test.each([
    ['a sequence that does not go on', [0xc3, 0x28]],
    ['a continuation byte alone', [0x80]],
    ['an overlong slash', [0xc0, 0xaf]],
    ['an overlong sequence of three bytes', [0xe0, 0x80, 0x80]],
    ['a surrogate', [0xed, 0xa0, 0x80]],
    ['an overlong sequence of four bytes', [0xf0, 0x8f, 0xbf, 0xbf]],
    ['a code beyond U+10FFFF', [0xf4, 0x90, 0x80, 0x80]],
    ['a sequence of five bytes', [0xf8, 0x88, 0x80, 0x80, 0x80]],
    ['a sequence cut short by the quote', [0xf0, 0x9f, 0x98]],
    ['a sequence of three bytes cut short', [0xe2, 0x82]],
  ])('%s in a string, in a key and anywhere else is no UTF-8, told before any other fault', (_name, wrong) => {
    const with_ = (before: string, after: string) =>
      Buffer.concat([Buffer.from(before), Buffer.from(wrong), Buffer.from(after)]);
    expect(refusal(with_('{"n":1,"s":"ä', '"}'))).toEqual(['encoding', 14]);
    expect(refusal(with_('{"n":1,"ä', '":1}'))).toEqual(['encoding', 10]);
    expect(refusal(with_('{"n":01} ', ''))).toEqual(['encoding', 9]);
    expect(refusal(with_('{"n":1,"n":1,"', '":1}'))).toEqual(['encoding', 14]);
  });

  test('places are bytes, also behind characters of several bytes', () => {
    expect(refusal('{"ä€😀":1,}')).toEqual(['json_syntax', Buffer.byteLength('{"ä€😀":1,')]);
  });

  test('what only looks wrong is kept', () => {
    for (const line of [
      '{"n":-0}',
      ' \t{ "n" : 1e-400 , "x" : [ ] , "y" : { } }\r',
      '{"n":1,"s":"\\ud83d\\ude00\\"\\\\\\/\\b\\f\\n\\r\\t\u007f\u2028"}',
      '{"n":1,"constructor":[{"prototype":1}],"prototype":{"constructor":1},"toString":1}',
      `{"n":1,"x":${'['.repeat(31)}${']'.repeat(31)}}`,
      '{"n":1,"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}',
      '{"n":1,"":{"":1}}',
      '{"n":1,"\\\\":{"a":1},"\\"":2}',
    ]) {
      expect(refusal(line)).toBe('kept');
    }
  });
});

describe('what a reader expects from the lines before is compared as it stands in the input', () => {
  test('a key that needs an escape is not found in the beginning of a longer one', () => {
    const { kept, refused } = readColumns(
      { id: { type: 'id' }, d: { type: 'numbers' } },
      '{"id":"\\\\","d":{"\\\\":1},"\\\\":1,"x":{"\\\\":1}}\n{"id":"\\":\\\\","d":{"\\":\\\\":1},"\\":\\\\":1,"x":{"\\":\\\\":1}}\n',
    );
    expect(refused).toEqual([]);
    expect(kept.map((row) => row.cells)).toEqual([
      { id: '\\', d: [['\\', 1]] },
      { id: '":\\', d: [['":\\', 1]] },
    ]);
  });

  test('a key that a refused line brought is as new as before', () => {
    const schema = {
      d: { type: 'numbers', keys: { characters: 'a-z_', maxBytes: 12 } },
      id: { type: 'id', maxBytes: 3 },
    } as const;
    const bad = ['{"d":{"__proto__":1}}', '{"d":{"NO":1},"id":"a"}', '{"d":{"a":1},"id":"long"}', '{"d":{"b":1}'];
    const gatherer = new Gatherer(schema);
    const { kept, refused } = gatherer.read(
      [...bad, '{"d":{"c":1},"id":"ok"}', ...bad, '{"d":{"b":1},"id":"a"}'].join('\n'),
    );
    const reasons = ['forbidden_key', 'characters', 'length', 'json_syntax'];
    expect(refused.map(({ reason }) => reason)).toEqual([...reasons, ...reasons]);
    expect(kept.map(({ cells }) => cells)).toEqual([
      { d: [['c', 1]], id: 'ok' },
      { d: [['b', 1]], id: 'a' },
    ]);
    expect([gatherer.reader.ids.d.size, gatherer.reader.ids.id.size]).toEqual([2, 2]);
  });
});

describe('an object of any number of keys has none twice', () => {
  /** Some thousand keys: beyond what is compared one by one, and beyond what is remembered. */
  const keys = (count: number, more = '') =>
    Array.from({ length: count }, (_, i) => `"key ${i}${more}":{"a":${i},"b":{}}`);

  test.each([2, 16, 17, 64, 65, 256, 257, 5000])('%i keys', (count) => {
    for (const where of [(list: string) => `{"n":1,${list}}`, (list: string) => `{"n":1,"x":[{"y":{${list}}}]}`]) {
      const list = keys(count);
      expect(refusal(where(list.join(',')))).toBe('kept');
      const [first, last] = [list[0]!, list.at(-1)!];
      const text = where([...list, first].join(','));
      expect(refusal(text)).toEqual(['duplicate_key', text.lastIndexOf('"key 0"')]);
      const twice = where([...list, last].join(','));
      expect(refusal(twice)).toEqual(['duplicate_key', twice.lastIndexOf(`"key ${count - 1}"`)]);
    }
  });

  test('whichever of them it is', () => {
    const list = keys(3000);
    const schema = { d: { type: 'numbers', maxIds: 1, maxEntries: 1, optional: true } } as const;
    const gatherer = new Gatherer(schema);
    for (let i = 0; i < 20; i++) {
      const again = list[(i * 1009) % list.length]!;
      for (const line of [`{${list},${again}}`, `{"x":{${list},${again}}}`, `{"d":{${list},${again}}}`]) {
        expect(gatherer.read(line).refused).toMatchObject([
          { reason: 'duplicate_key', offset: line.lastIndexOf(again) },
        ]);
      }
    }
  });

  test('objects side by side and inside each other may share thousands of keys', () => {
    const many = keys(2000, 'x'.repeat(70)).join(',');
    expect(refusal(`{"n":1,"x":[{${many}},{${many},"y":{${many}}}],${many}}`)).toBe('kept');
  });

  test('a dictionary beyond its ids still knows what stands twice', () => {
    const schema = { d: { type: 'numbers', maxIds: 2, maxEntries: 9 } } as const;
    const twice = '{"d":{"a":1,"b":2,"c":3,"c":4}}';
    const forbidden = '{"d":{"a":1,"b":2,"c":3,"d":{"constructor":{"prototype":1}}}}';
    const { refused } = readColumns(schema, `${twice}\n${forbidden}\n`);
    expect(refused.map(({ reason, offset }) => [reason, offset])).toEqual([
      ['duplicate_key', twice.lastIndexOf('"c"')],
      ['forbidden_key', forbidden.indexOf('"prototype"')],
    ]);
  });
});
