import { describe, expect, test } from 'vitest';
import { parseStrictJson } from '../../../../providers/ray-job-submission-client/src/strict-json.ts';

describe('strict JSON', () => {
  test.each([
    ['objects, arrays and all scalars', '{"a":[1,-2.5e3,true,false,null,"x"],"b":{"a":{}}}'],
    ['the same key in two objects', '[{"a":1},{"a":2},{"b":{"a":3}}]'],
    ['brackets, quotes and commas inside strings', '{"a":"}{][,\\"b\\":\\\\","b":"\\u0022"}'],
    ['64 levels', `${'['.repeat(64)}${']'.repeat(64)}`],
    ['a scalar', '"x"'],
  ])('takes %s as JSON.parse does', (_what, text) => {
    expect(parseStrictJson(text)).toEqual(JSON.parse(text));
  });

  test.each([
    ['a key given twice', '{"a":1,"b":2,"a":3}', /given twice/],
    ['a key given twice, once escaped', '{"a":1,"\\u0061":3}', /given twice/],
    ['a key given twice deep inside', '[{"x":{"a":1,"a":1}}]', /given twice/],
    ['a key given twice after an inner object', '{"a":{"b":1},"a":2}', /given twice/],
    ['__proto__', '{"__proto__":{"x":1}}', /__proto__/],
    ['__proto__ written with an escape', '{"__\\u0070roto__":1}', /__proto__/],
    ['65 levels', `${'['.repeat(65)}${']'.repeat(65)}`, /deeper/],
    ['100,000 levels', '['.repeat(100_000), /deeper/],
    ['a cut text', '{"a":[1,', /not JSON/],
    ['a cut string', '{"a":"x', /no end/],
    ['nothing', '', /not JSON/],
    ['a text behind the value', '{} {}', /not JSON/],
  ])('refuses %s', (_what, text, problem) => {
    expect(() => parseStrictJson(text)).toThrow(problem);
  });
});
