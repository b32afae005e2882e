import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalText } from '../../../core/canonical.ts';
import { JSON_MAX_DEPTH, parseJson, parseJsonObject } from '../../../core/json.ts';
import { locateJson } from '../../../core/json-position.ts';
import { bytesOf } from '../../support/scoring-reports.ts';

function refusal(text: string | Uint8Array): readonly [string, number] | 'accepted' {
  const reading = parseJson(typeof text === 'string' ? bytesOf(text) : text);
  return reading.ok ? 'accepted' : [reading.code, reading.position];
}

describe('reading JSON strictly', () => {
  test('every JSON value that JSON.parse reads without losing anything reads the same', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), fc.constantFrom(0, 1, 2), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        // Keys and strings with NUL or lone surrogates are refused by design, and so is __proto__.
        fc.pre(!/\\u0000|\\ud[89a-f]/i.test(text) && !text.includes('__proto__'));
        const reading = parseJson(bytesOf(text));
        expect(reading).toEqual({ ok: true, value: JSON.parse(text) });
      }),
      { numRuns: 500 },
    );
  });

  test('every finite double reads as the same double', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (x) => {
        const reading = parseJson(bytesOf(String(x)));
        expect(reading.ok && Object.is(reading.value, Number(String(x)))).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test('every decimal literal reads as JSON.parse reads it, however many digits and whatever exponent', () => {
    const digits = fc.stringMatching(/^[0-9]{1,25}$/).map((text) => text.replace(/^0+(?=.)/, ''));
    const literal = fc.tuple(
      fc.constantFrom('', '-'),
      digits,
      fc.option(fc.stringMatching(/^[0-9]{1,25}$/)),
      fc.option(fc.integer({ min: -320, max: 290 })),
    );
    fc.assert(
      fc.property(literal, ([sign, whole, fraction, exponent]) => {
        const text = `${sign}${whole}${fraction === null ? '' : `.${fraction}`}${exponent === null ? '' : `e${exponent}`}`;
        fc.pre(Number.isFinite(Number(text)));
        const reading = parseJson(bytesOf(text));
        expect(reading.ok && Object.is(reading.value, JSON.parse(text))).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test('no bytes at all make it throw, and what it accepts JSON.parse accepts too', () => {
    const soup = fc
      .array(fc.constantFrom(...'{}[]",:\\u0d8e+-.17 tfn\n'), { maxLength: 24 })
      .map((parts) => bytesOf(parts.join('')));
    fc.assert(
      fc.property(fc.oneof(soup, fc.uint8Array({ maxLength: 24 })), (bytes) => {
        const reading = parseJson(bytes);
        if (reading.ok) expect(reading.value).toEqual(JSON.parse(Buffer.from(bytes).toString('utf8')));
        else expect(reading.position).toBeLessThanOrEqual(bytes.length);
      }),
      { numRuns: 3000 },
    );
  });

  test.each([
    ['nothing', '', ['json_syntax', 0]],
    ['blanks only', ' \n', ['json_syntax', 2]],
    ['a text cut short', '{"gpus":', ['json_syntax', 8]],
    ['a text cut inside a string', '{"gp', ['json_syntax', 4]],
    ['something after the value', '{} x', ['json_syntax', 3]],
    ['two values on a line', '{}{}', ['json_syntax', 2]],
    ['a trailing comma', '[1,]', ['json_syntax', 3]],
    ['a single quote', "{'a':1}", ['json_syntax', 1]],
    ['a leading zero', '[01]', ['json_syntax', 1]],
    ['a bare point', '[1.]', ['json_syntax', 3]],
    ['a leading point', '[.5]', ['json_syntax', 1]],
    ['a plus sign', '[+1]', ['json_syntax', 1]],
    ['a hexadecimal number', '[0x10]', ['json_syntax', 2]],
    ['an empty exponent', '[1e]', ['json_syntax', 3]],
    ['a bare tab in a string', '"a\tb"', ['json_syntax', 2]],
    ['an unknown escape', '"\\x"', ['json_syntax', 1]],
    ['a byte-order mark', '\uFEFF{}', ['json_syntax', 0]],
    ['a comment', '{} // x', ['json_syntax', 3]],
    ['NaN', '{"a":NaN}', ['number', 5]],
    ['Infinity', '[Infinity]', ['number', 1]],
    ['minus Infinity', '[-Infinity]', ['number', 1]],
    ['a number beyond doubles', '{"a":1e400}', ['number', 5]],
    ['a duplicate key', '{"gpus":1,"gpus":100}', ['duplicate_key', 10]],
    ['a duplicate key in disguise', '{"a":1,"\\u0061":2}', ['duplicate_key', 7]],
    ['a duplicate key deep down', '{"x":[{"a":1,"a":1}]}', ['duplicate_key', 13]],
    ['__proto__', '{"__proto__":{"role":"admin"}}', ['forbidden_key', 1]],
    ['__proto__ in disguise', '{"__pr\\u006fto__":1}', ['forbidden_key', 1]],
    ['constructor.prototype', '{"constructor":{"prototype":{"x":1}}}', ['forbidden_key', 16]],
    ['NUL as an escape', '"\\u0000"', ['encoding', 1]],
    ['NUL as a byte in a string', '"\0"', ['encoding', 1]],
    ['a lone high surrogate', '"\\ud800"', ['encoding', 1]],
    ['a lone low surrogate', '"\\udc00"', ['encoding', 1]],
    ['two high surrogates', '"\\ud800\\ud800"', ['encoding', 1]],
    ['a lone surrogate in a key', '{"\\ud800":1}', ['encoding', 2]],
    ['100,000 open brackets', '['.repeat(100_000), ['depth', JSON_MAX_DEPTH]],
  ] as const)('refuses %s', (_name, text, expected) => {
    expect(refusal(text)).toEqual(expected);
  });

  test('bad UTF-8 is refused at its first bad byte, not replaced', () => {
    expect(refusal(Uint8Array.of(0x22, 0xc3, 0x28, 0x22))).toEqual(['encoding', 1]);
    expect(refusal(Uint8Array.of(0x22, 0xc3, 0xa4, 0xed, 0xa0, 0x80, 0x22))).toEqual(['encoding', 3]);
    expect(refusal(Uint8Array.of(0x22, 0xf0, 0x9f, 0x98))).toEqual(['encoding', 1]);
  });

  test('positions are bytes, also behind characters of several bytes', () => {
    expect(refusal('{"ä€😀":1,}')).toEqual(['json_syntax', Buffer.byteLength('{"ä€😀":1,')]);
  });

  test('nesting of 32 is accepted and of 33 refused', () => {
    const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
    expect(refusal(nested(32))).toBe('accepted');
    expect(refusal(nested(33))).toEqual(['depth', 32]);
  });

  test('constructor and prototype alone are ordinary keys', () => {
    expect(parseJson(bytesOf('{"constructor":"x","prototype":{"a":1},"toString":1}'))).toEqual({
      ok: true,
      value: { constructor: 'x', prototype: { a: 1 }, toString: 1 },
    });
    expect(Object.prototype).not.toHaveProperty('a');
  });

  test('escaped surrogate pairs and every short escape are decoded', () => {
    expect(parseJson(bytesOf('"\\ud83d\\ude00\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4"'))).toEqual({
      ok: true,
      value: '😀"\\/\b\f\n\r\tä',
    });
  });

  test.each(['null', '[]', '"x"', '1'])('%s is refused where an object must stand', (text) => {
    expect(parseJsonObject(bytesOf(text))).toMatchObject({ ok: false, code: 'not_an_object' });
  });
});

describe('locating a value', () => {
  test('the offset is that of the value itself, past strings and nested values that look like it', () => {
    const text = '{"x":"\\"metrics\\":{", "y":{"metrics":[1,{"a":2}]}, "metrics" : {"b":1,"a": 7.5}}';
    const at = locateJson(bytesOf(text), ['metrics', 'a']);
    expect(text.slice(at, at + 3)).toBe('7.5');
  });

  test('a missing key points at the object that lacks it', () => {
    expect(locateJson(bytesOf(' {"a":{"b":1}}'), ['a', 'c'])).toBe(6);
    expect(locateJson(bytesOf(' {"a":1}'), ['b'])).toBe(1);
  });
});

describe('the canonical form', () => {
  test('sorts keys by UTF-16 code units and writes numbers as RFC 8785, section 3.2.3, shows', () => {
    const text =
      '{"\\u20ac":"Euro Sign","\\r":"Carriage Return","\\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\\ud83d\\ude00":"Emoji: Grinning Face","\\u0080":"Control","\\u00f6":"Latin Small Letter O With Diaeresis"}';
    const reading = parseJsonObject(bytesOf(text));
    expect(reading.ok && Object.keys(JSON.parse(canonicalText(reading.value)) as object)).toEqual([
      '1',
      '\r',
      '\u0080',
      'ö',
      '€',
      '😀',
      '\ufb33',
    ]);
  });

  test('equals the RFC’s example of section 3.2.2 byte for byte', () => {
    const text =
      '{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/","literals":[null,true,false]}';
    const reading = parseJson(bytesOf(text));
    expect(reading.ok && canonicalText(reading.value)).toBe(
      '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
    );
  });

  test.each([
    ['0000000000000000', '0'],
    ['8000000000000000', '0'],
    ['0000000000000001', '5e-324'],
    ['8000000000000001', '-5e-324'],
    ['7fefffffffffffff', '1.7976931348623157e+308'],
    ['ffefffffffffffff', '-1.7976931348623157e+308'],
    ['4340000000000000', '9007199254740992'],
    ['c340000000000000', '-9007199254740992'],
    ['4430000000000000', '295147905179352830000'],
    ['44b52d02c7e14af5', '9.999999999999997e+22'],
    ['44b52d02c7e14af6', '1e+23'],
    ['44b52d02c7e14af7', '1.0000000000000001e+23'],
    ['444b1ae4d6e2ef4e', '999999999999999700000'],
    ['444b1ae4d6e2ef4f', '999999999999999900000'],
    ['444b1ae4d6e2ef50', '1e+21'],
    ['3eb0c6f7a0b5ed8c', '9.999999999999997e-7'],
    ['3eb0c6f7a0b5ed8d', '0.000001'],
    ['41b3de4355555553', '333333333.3333332'],
    ['becbf647612f3696', '-0.0000033333333333333333'],
    ['43143ff3c1cb0959', '1424953923781206.2'],
  ])('writes the double %s of RFC 8785, appendix B, as %s', (hex, expected) => {
    expect(canonicalText(Buffer.from(hex, 'hex').readDoubleBE())).toBe(expected);
  });
});
