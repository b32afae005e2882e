import { describe, expect, test } from 'vitest';
import { parseYaml, parseYamlDocuments, stringifyYaml } from '../../../platform/yaml.ts';

function fault(text: string): string {
  const reading = parseYaml(text);
  return reading.ok ? 'accepted' : `${reading.refusals[0]?.code} ${reading.refusals[0]?.field}`;
}

describe('reading YAML', () => {
  test('keys are strings whatever they look like, and no string becomes a date or a boolean of YAML 1.1', () => {
    expect(parseYaml('1h: 0.5\n10: yes\n0x10: 2026-11-23\nno: 15')).toEqual({
      ok: true,
      value: { '1h': 0.5, 10: 'yes', '0x10': '2026-11-23', no: 15 },
    });
  });

  test('JSON is YAML', () => {
    expect(parseYaml('{"a": [1, 2.5e3, null, true], "b": "\\u00e4"}')).toEqual({
      ok: true,
      value: { a: [1, 2500, null, true], b: 'ä' },
    });
  });

  test.each([
    ['an open bracket', 'a: 1\nb: [1, 2', 'yaml_syntax line 2, column 9'],
    ['a key twice', 'a: 1\nb: 2\na: 2', 'yaml_syntax line 3, column 1'],
    ['a key twice in JSON', '{"a": 1, "a": 2}', 'yaml_syntax line 1, column 10'],
    ['a tag of its own', 'a: !foo 3', 'yaml_syntax line 1, column 4'],
    ['a tag that would build a function', 'a: !!js/function x', 'yaml_syntax line 1, column 4'],
    ['a tag that would build bytes', 'a: !!binary aGk=', 'yaml_syntax line 1, column 4'],
    ['a second document', 'a: 1\n---\nb: 2', 'yaml_syntax line 2, column 1'],
    ['a key that is a list', '? [a]\n: 3', 'yaml_syntax line 1, column 3'],
    ['a number that YAML 1.1 reads otherwise', 'a: 010', 'ambiguous_number line 1, column 4'],
    ['a number that is no JSON', 'a: .inf', 'ambiguous_number line 1, column 4'],
    ['a tab as indentation', 'a:\n\tb: 1', 'yaml_syntax line 2, column 1'],
  ])('refuses %s and says where', (_name, text, expected) => {
    expect(fault(text)).toBe(expected);
  });

  test('merge keys are ordinary keys', () => {
    expect(parseYaml('<<: {a: 1}')).toEqual({ ok: true, value: { '<<': { a: 1 } } });
  });

  test('aliases work, and neither many nor multiplying ones are let through', () => {
    expect(parseYaml('a: &x [1]\nb: [*x, *x]')).toEqual({ ok: true, value: { a: [1], b: [[1], [1]] } });
    expect(fault(`a: &x 1\nb: [${Array(101).fill('*x').join(', ')}]`)).toBe('aliases ');
    const level = (name: string, of: string) => `${name}: &${name} [${Array(9).fill(of).join(', ')}]`;
    expect(fault([level('a', 'x'), level('b', '*a'), level('c', '*b'), level('d', '*c')].join('\n'))).toBe('aliases ');
  });

  test('nesting without end is refused, not a crash', () => {
    expect(fault('['.repeat(100_000))).not.toBe('accepted');
    expect(fault(`${'['.repeat(100_000)}${']'.repeat(100_000)}`)).not.toBe('accepted');
  });

  test('what is written reads back', () => {
    const value = { a: [1, { b: 'x: y', c: null }], s: '1', d: '2026-11-23', e: 'no', f: 1e300, g: '0e1' };
    expect(parseYaml(stringifyYaml(value))).toEqual({ ok: true, value });
  });
});

describe('reading several YAML documents', () => {
  test('gives each that says something, in order', () => {
    expect(parseYamlDocuments('# one\n---\na: 1\n---\n---\nb: [2]\n---\n')).toEqual({
      ok: true,
      value: [{ a: 1 }, { b: [2] }],
    });
    expect(parseYamlDocuments('')).toEqual({ ok: true, value: [] });
  });

  test('refuses all faults of all documents, and says on which line of the text', () => {
    const reading = parseYamlDocuments('a: 010\n---\nb: !foo 1\n---\nc: 1\nc: 2\n');
    expect(reading.ok ? [] : reading.refusals.map(({ code, field }) => `${code} ${field}`)).toEqual([
      'ambiguous_number line 1, column 4',
      'yaml_syntax line 3, column 4',
      'yaml_syntax line 6, column 1',
    ]);
  });
});
