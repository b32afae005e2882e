import canonicalize from 'canonicalize';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalText } from '../../../core/canonical.ts';

const KEYS = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 4 }),
  fc.constantFrom('a', 'b', 'A', '10', '9', '1a', 'é', '\u{1f600}', '\ufb33', '__proto__', 'toJSON', '', '\ud800'),
);
const LEAVES = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.double(),
  fc.boolean(),
  fc.constantFrom<unknown>(
    null,
    undefined,
    -0,
    1e21,
    '\ud800',
    Number.NaN,
    Symbol.iterator,
    new Date(0),
    Object('boxed'),
  ),
);
const VALUES = fc.letrec((tie) => ({
  value: fc.oneof({ depthSize: 'small', withCrossShrink: true }, LEAVES, tie('list'), tie('members')),
  list: fc.array(tie('value'), { maxLength: 5 }),
  members: fc
    .array(fc.tuple(KEYS, tie('value')), { maxLength: 5 })
    .map((entries) => Object.fromEntries(entries as [string, unknown][])),
})).value;

/** What a form comes to: its text, or that there is none. */
function outcome(form: (value: unknown) => string | undefined, value: unknown): string | undefined {
  try {
    return form(value);
  } catch {
    return undefined;
  }
}

describe('the canonical form of what is not read from JSON', () => {
  it('is the library’s of whatever there is, or refused where the library refuses it', () => {
    fc.assert(
      fc.property(VALUES, (value) => {
        expect(outcome(canonicalText, value)).toBe(outcome(canonicalize, value));
      }),
      { numRuns: 3_000 },
    );
  });

  it('leaves the value as it was, whatever the order of its keys', () => {
    const value = { b: [{ d: 1, c: 2 }], a: { z: 'x', y: null } };
    const before = JSON.stringify(value);
    expect(canonicalText(value)).toBe('{"a":{"y":null,"z":"x"},"b":[{"c":2,"d":1}]}');
    expect(JSON.stringify(value)).toBe(before);
  });

  it('is the same of what is nested deeper than anything that is signed', () => {
    let deep: unknown = { b: 1, a: 2 };
    for (let level = 0; level < 100; level++) deep = level % 2 === 0 ? [deep] : { y: deep, x: level };
    expect(canonicalText(deep)).toBe(canonicalize(deep));
  });

  it('is refused of a value that contains itself', () => {
    const loop: Record<string, unknown> = { a: 1 };
    loop.b = { loop };
    expect(() => canonicalText(loop)).toThrow('Circular');
  });
});
