import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  judgeSignature,
  parseStatement,
  rejectionOf,
  type Statement,
  statementBytes,
  statementHash,
  statementOf,
} from '../../../core/approval.ts';
import { contentHash } from '../../../core/canonical.ts';
import { signingPolicy, testKey } from '../../support/signers.ts';

const ann = testKey();
const ben = testKey();
const POLICY = signingPolicy({ ann, ben });
const STATEMENT = statementOf({
  environment: 'merit-1',
  tenant: 'acme',
  action: 'allocation.apply',
  proposal: '01j00000000000000000000000-2',
  subject: { kind: 'booking', id: '01j00000000000000000000000', version: '2' },
  contentHash: contentHash({ gpus: 8 }),
  money: { minor: 120_000n, currency: 'USD' },
  policyVersion: 'v1',
  nonce: '00'.repeat(32),
  expiresAtMs: Date.parse('2026-12-01T00:00:00Z'),
});
const given = { keyId: ann.keyId, signature: ann.sign(STATEMENT), atMs: 1 };

/** Every place of the statement with a value, as a way to put another one there. */
function places(
  value: object,
  put: (changed: object) => object = (changed) => changed,
): { name: string; set(to: unknown): object }[] {
  return Object.entries(value).flatMap(([name, member]) => {
    const set = (to: unknown) => put({ ...value, [name]: to });
    if (typeof member !== 'object' || member === null) return [{ name, set }];
    return places(member, set).map((place) => ({ ...place, name: `${name}.${place.name}` }));
  });
}

describe('a statement', () => {
  test('is text of its own kind with every field in it, and comes back from its bytes', () => {
    const text = statementBytes(STATEMENT).toString();
    expect(text).toMatch(
      /^merit-approval\/1\n\{"action":"allocation\.apply","amount":\{"currency":"USD","minor":"120000","scale":2\}/,
    );
    expect(
      places(STATEMENT)
        .map(({ name }) => name)
        .sort(),
    ).toEqual([
      'action',
      'amount.currency',
      'amount.minor',
      'amount.scale',
      'contentHash',
      'environment',
      'expiresAt',
      'nonce',
      'policyVersion',
      'proposal',
      'subject.id',
      'subject.kind',
      'subject.version',
      'tenant',
      'verdict',
    ]);
    expect(parseStatement(statementBytes(STATEMENT))).toEqual({ ok: true, statement: STATEMENT });
  });

  test('that was changed in any one field is not what was signed', () => {
    expect(judgeSignature(POLICY, STATEMENT, given, [])).toEqual({ person: 'ann' });
    for (const { set } of places(STATEMENT))
      expect(judgeSignature(POLICY, set('other') as Statement, given, [])).toBe('bad_signature');
  });

  test('has another hash with any other value of any field', () => {
    const value = fc.oneof(fc.string(), fc.integer(), fc.constant(null));
    fc.assert(
      fc.property(fc.constantFrom(...places(STATEMENT)), value, ({ set }, to) => {
        const other = set(to) as Statement;
        fc.pre(contentHash(other) !== contentHash(STATEMENT));
        expect(statementHash(other)).not.toBe(statementHash(STATEMENT));
      }),
      { numRuns: 300 },
    );
  });

  test('that is approved is not refused by the same signature, nor the other way round', () => {
    expect(judgeSignature(POLICY, rejectionOf(STATEMENT), given, [])).toBe('bad_signature');
    const refusal = { ...given, signature: ann.sign(rejectionOf(STATEMENT)) };
    expect(judgeSignature(POLICY, rejectionOf(STATEMENT), refusal, [])).toEqual({ person: 'ann' });
    expect(judgeSignature(POLICY, STATEMENT, refusal, [])).toBe('bad_signature');
  });

  test.each([
    ['without its first line', (bytes: Buffer) => bytes.subarray(17)],
    ['with a blank in it', (bytes: Buffer) => Buffer.from(bytes.toString().replace('":', '": '))],
    ['with another member', (bytes: Buffer) => Buffer.from(bytes.toString().replace('{"action"', '{"a":1,"action"'))],
    [
      'with a member twice',
      (bytes: Buffer) => Buffer.from(bytes.toString().replace('"tenant":"acme"', '"tenant":"acme","tenant":"acme"')),
    ],
    ['with a byte behind it', (bytes: Buffer) => Buffer.concat([bytes, Buffer.from('\n')])],
    ['of bytes without end', () => Buffer.alloc(9_000, 32)],
  ])('read from a file %s is refused', (_what, broken) => {
    expect(parseStatement(broken(statementBytes(STATEMENT)))).toMatchObject({ ok: false });
  });
});

describe('a signature', () => {
  test('of an unknown key, of another key, of whoever asked, or where no policy stands does not count', () => {
    expect(judgeSignature(undefined, STATEMENT, given, [])).toBe('no_signing_policy');
    const stranger = testKey();
    expect(
      judgeSignature(POLICY, STATEMENT, { keyId: stranger.keyId, signature: stranger.sign(STATEMENT), atMs: 1 }, []),
    ).toBe('unknown_key');
    expect(judgeSignature(POLICY, STATEMENT, { ...given, keyId: ben.keyId }, [])).toBe('bad_signature');
    expect(judgeSignature(POLICY, STATEMENT, given, ['ann'])).toBe('requester');
  });

  test('of any other bytes does not count', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 511 }), (bit) => {
        const signature = Uint8Array.from(given.signature);
        signature[bit >> 3]! ^= 1 << (bit & 7);
        expect(judgeSignature(POLICY, STATEMENT, { ...given, signature }, [])).toBe('bad_signature');
      }),
      { numRuns: 30 },
    );
    for (const signature of [new Uint8Array(0), new Uint8Array(64), new Uint8Array(65)])
      expect(judgeSignature(POLICY, STATEMENT, { ...given, signature }, [])).toBe('bad_signature');
  });
});
