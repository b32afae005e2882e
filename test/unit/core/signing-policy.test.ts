import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RefusedInput } from '../../../core/refusal.ts';
import {
  allocationRequirement,
  expiryMsOf,
  holderOf,
  keyRefusal,
  lockedOut,
  parseSigningPolicy,
  type SigningPolicy,
  tally,
} from '../../../core/signing-policy.ts';
import { signingPolicy, testKey } from '../../support/signers.ts';

const [a, b, c, d] = [testKey(), testKey(), testKey(), testKey()];
const POLICY = signingPolicy({ ann: a, ben: b, cid: c });

const refusals = (value: unknown) => {
  try {
    parseSigningPolicy(value);
    return [];
  } catch (error) {
    if (!(error instanceof RefusedInput)) throw error;
    return error.refusals.map(({ code, field }) => `${code} ${field}`);
  }
};
const changed = (over: object) => refusals({ ...POLICY, ...over });
const key = (of: { publicKey: string }) => ({ publicKey: of.publicKey });

describe('a signing policy', () => {
  test('of people with sound keys and thresholds that they can reach is taken', () => {
    expect(refusals(POLICY)).toEqual([]);
    expect(
      changed({
        people: [
          { name: 'ann', roles: ['finance'], principals: ['oidc:ann', 'ann'], keys: [key(a), key(d)] },
          { name: 'ben', keys: [{ ...key(b), validFrom: '2026-01-01T00:00:00Z', validTo: '2027-01-01T00:00:00Z' }] },
        ],
        allocations: [{ above: { amount: '1000.00', currency: 'USD' }, signatures: 2, roles: { finance: 1 } }],
        expireAfter: '2h',
      }),
    ).toEqual([]);
  });

  test('that the keys which count could never change again locks everybody out', () => {
    const at = Date.UTC(2026, 10, 26);
    const until = (validTo: string | undefined) => ({
      ...POLICY,
      people: POLICY.people.map((person, i) => ({
        ...person,
        keys: person.keys.map((one) => (i === 0 || validTo === undefined ? one : { ...one, validTo })),
      })),
    });
    expect(lockedOut(until(undefined), at)).toBeUndefined();
    expect(lockedOut(until('2026-12-01T00:00:00Z'), at)).toBeUndefined();
    expect(lockedOut(until('2020-01-01T00:00:00Z'), at)).toMatchObject({ code: 'locked_out', field: 'changes' });
    const roles = { ...POLICY, changes: { signatures: 2, roles: { finance: 1 } } };
    expect(lockedOut(roles, at)).toMatchObject({ code: 'locked_out' });
  });

  test.each([
    [
      'no signatures for what is large (G22)',
      { allocations: [{ signatures: 0 }] },
      'threshold allocations.0.signatures',
    ],
    [
      'one signature for what is large (G23)',
      { allocations: [{ signatures: 1 }] },
      'threshold allocations.0.signatures',
    ],
    ['one signature for another policy (G23)', { changes: { signatures: 1 } }, 'threshold changes.signatures'],
    ['no signature for a revoke (G22)', { revoke: { signatures: 0 } }, 'threshold revoke.signatures'],
    ['more signatures than people (G22)', { changes: { signatures: 4 } }, 'threshold changes.signatures'],
    ['a role that nobody has', { revoke: { signatures: 1, roles: { cfo: 1 } } }, 'threshold revoke.roles.cfo'],
    [
      'a key twice',
      {
        people: [
          { name: 'ann', keys: [key(a)] },
          { name: 'ben', keys: [key(a)] },
        ],
      },
      'duplicate_principal people.1.keys.0.publicKey',
    ],
    [
      'a person twice',
      {
        people: [
          { name: 'ann', keys: [key(a)] },
          { name: 'ann', keys: [key(b)] },
        ],
      },
      'duplicate_principal people.1.name',
    ],
    [
      'an identity of two people',
      {
        people: [
          { name: 'ann', principals: ['x'], keys: [key(a)] },
          { name: 'ben', principals: ['x'], keys: [key(b)] },
        ],
      },
      'duplicate_principal people.1.principals.0',
    ],
    [
      'somebody’s name as another’s identity',
      {
        people: [
          { name: 'ann', keys: [key(a)] },
          { name: 'ben', principals: ['ann'], keys: [key(b)] },
        ],
      },
      'duplicate_principal people.1.principals.0',
    ],
    [
      'a key that is never valid',
      {
        people: [
          { name: 'ann', keys: [{ ...key(a), validFrom: '2027-01-01T00:00:00Z', validTo: '2026-01-01T00:00:00Z' }] },
          { name: 'ben', keys: [key(b)] },
        ],
      },
      'range people.0.keys.0.validTo',
    ],
    [
      'a time that is none',
      {
        people: [
          { name: 'ann', keys: [{ ...key(a), validTo: 'soon' }] },
          { name: 'ben', keys: [key(b)] },
        ],
      },
      'time_format people.0.keys.0.validTo',
    ],
    ['a wait that is too long', { expireAfter: '31d' }, 'range expireAfter'],
    ['an unknown member', { threshold: 1 }, 'unknown_field threshold'],
  ])('with %s is refused', (_what, over, told) => {
    expect(changed(over)).toContain(told);
  });

  test.each([
    ['of small order', '0100000000000000000000000000000000000000000000000000000000000000', 'weak_key'],
    ['zero', '00'.repeat(32), 'weak_key'],
    ['not canonical', 'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f', 'weak_key'],
    ['of 31 bytes', '11'.repeat(31), 'public_key'],
  ])('with a key %s is refused', (_what, hex, code) => {
    expect(keyRefusal('key', Buffer.from(hex, 'hex').toString('base64'))?.code).toBe(code);
  });

  test('waits a day for signatures where it says nothing else', () => {
    expect(expiryMsOf(undefined)).toBe(86_400_000);
    expect(expiryMsOf({ ...POLICY, expireAfter: '2h' })).toBe(7_200_000);
  });
});

describe('what an allocation asks for', () => {
  const rules: SigningPolicy = {
    ...POLICY,
    allocations: [
      { above: { amount: '100.00', currency: 'USD' }, signatures: 2 },
      { above: { amount: '1000.00', currency: 'USD' }, signatures: 3, roles: { finance: 1 } },
      { division: 'nlp', signatures: 2, roles: { nlp: 2 } },
    ],
  };
  const of = (cents: bigint, over: object = {}, bySentinelNet = 0) =>
    allocationRequirement(rules, { division: 'vision', pool: 'p', cents, currency: 'USD', ...over }, bySentinelNet);

  test('is nothing without a policy, up to the bound, and more above it', () => {
    const ask = { division: 'vision', pool: 'p', cents: 10n ** 12n, currency: 'USD' };
    expect(allocationRequirement(undefined, ask, 0)).toEqual({ signatures: 0, roles: {} });
    expect(of(10_000n)).toEqual({ signatures: 0, roles: {} });
    expect(of(10_001n)).toEqual({ signatures: 2, roles: {} });
    expect(of(100_001n)).toEqual({ signatures: 3, roles: { finance: 1 } });
  });

  test('counts every rule that matches, and what SentinelNet asks for', () => {
    expect(of(100_001n, { division: 'nlp' })).toEqual({ signatures: 3, roles: { finance: 1, nlp: 2 } });
    expect(of(1n, {}, 4)).toEqual({ signatures: 4, roles: {} });
  });

  test('of a task is what its whole array at its price asks for: nothing large goes through in pieces', () => {
    expect(of(2_000n, { tasks: 5 })).toEqual({ signatures: 0, roles: {} });
    expect(of(2_001n, { tasks: 5 })).toEqual({ signatures: 2, roles: {} });
    expect(of(1_000n, { tasks: 101 })).toEqual({ signatures: 3, roles: { finance: 1 } });
  });

  test('in a currency that cannot be compared is not let through', () => {
    expect(of(1n, { currency: 'EUR' })).toEqual({ signatures: 3, roles: { finance: 1 } });
  });
});

describe('a key', () => {
  const windowed: SigningPolicy = {
    ...POLICY,
    people: [
      { name: 'ann', keys: [{ ...key(a), validFrom: '2026-01-01T00:00:00Z', validTo: '2027-01-01T00:00:00Z' }] },
    ],
  };

  test('counts from the beginning of its window to before its end', () => {
    const at = (text: string) => {
      const holder = holderOf(windowed, { keyId: a.keyId, atMs: Date.parse(text) });
      return typeof holder === 'string' ? holder : holder.person.name;
    };
    expect(at('2025-12-31T23:59:59.999Z')).toBe('outside_window');
    expect(at('2026-01-01T00:00:00Z')).toBe('ann');
    expect(at('2027-01-01T00:00:00Z')).toBe('outside_window');
    expect(holderOf(windowed, { keyId: b.keyId, atMs: 0 })).toBe('unknown_key');
  });
});

describe('a quorum', () => {
  const signed = (...keys: { keyId: string }[]) => keys.map(({ keyId }) => ({ keyId, atMs: 1 }));
  const two = { signatures: 2, roles: {} };

  test('counts people, not keys and not signatures', () => {
    const policy = signingPolicy({ ann: a, ben: b }, {});
    const both: SigningPolicy = {
      ...policy,
      people: [{ name: 'ann', keys: [key(a), key(c)] }, policy.people[1]!],
    };
    expect(tally(both, two, signed(a, c, a), [])).toMatchObject({
      people: ['ann'],
      met: false,
      missing: { signatures: 1 },
    });
    expect(tally(both, two, signed(a, c, b), [])).toMatchObject({ people: ['ann', 'ben'], met: true });
  });

  test('counts nobody who asked, whatever the name', () => {
    const policy: SigningPolicy = {
      ...POLICY,
      people: POLICY.people.map((one) => (one.name === 'ann' ? { ...one, principals: ['oidc:7'] } : one)),
    };
    expect(tally(policy, two, signed(a, b), ['oidc:7'])).toMatchObject({ people: ['ben'], met: false, possible: true });
    expect(tally(policy, two, signed(a, b), ['ann', 'cid'])).toMatchObject({
      people: ['ben'],
      met: false,
      possible: false,
    });
  });

  test('is possible only by keys that count some time before it is over', () => {
    const base = signingPolicy({ ann: a, ben: b }, {});
    const until = (validTo: string): SigningPolicy => ({
      ...base,
      people: [base.people[0]!, { name: 'ben', keys: [{ ...base.people[1]!.keys[0]!, validTo }] }],
    });
    const within = { fromMs: Date.parse('2026-06-01T00:00:00Z'), toMs: Date.parse('2026-06-02T00:00:00Z') };
    const possible = (validTo: string) => tally(until(validTo), two, [], [], within).possible;
    expect(possible('2026-06-01T00:00:00Z')).toBe(false);
    expect(possible('2026-06-01T00:00:01Z')).toBe(true);
    expect(tally(until('2026-06-01T00:00:00Z'), two, signed(b), [], within).possible).toBe(true);
  });

  test('is met by nothing where no policy stands', () => {
    expect(tally(undefined, two, signed(a, b), [])).toMatchObject({ people: [], met: false, possible: false });
  });

  test('of any keys, people, roles and askers never counts one person twice, nor anybody who may not sign', () => {
    const keys = Array.from({ length: 12 }, () => testKey());
    const shape = fc.record({
      // Key i belongs to person owners[i]; 5: to nobody.
      owners: fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 12, maxLength: 12 }),
      until: fc.array(fc.option(fc.integer({ min: 1, max: 100 })), { minLength: 12, maxLength: 12 }),
      roles: fc.array(fc.subarray(['x', 'y']), { minLength: 5, maxLength: 5 }),
      askers: fc.subarray(['p0', 'p1', 'id2', 'id3', 'nobody']),
      signatures: fc.array(
        fc.record({ key: fc.integer({ min: 0, max: 11 }), atMs: fc.integer({ min: 0, max: 120 }) }),
        { maxLength: 30 },
      ),
      needs: fc.record({ signatures: fc.integer({ min: 0, max: 6 }), x: fc.integer({ min: 0, max: 3 }) }),
    });
    fc.assert(
      fc.property(shape, ({ owners, until, roles, askers, signatures, needs }) => {
        const people = [0, 1, 2, 3, 4].map((p) => ({
          name: `p${p}`,
          principals: [`id${p}`],
          roles: roles[p]!,
          keys: keys.flatMap(({ publicKey }, i) => {
            if (owners[i] !== p) return [];
            const end = until[i];
            return [{ publicKey, ...(end == null ? {} : { validTo: new Date(end).toISOString() }) }];
          }),
        }));
        const policy = { ...POLICY, people } as SigningPolicy;
        const requirement = { signatures: needs.signatures, roles: needs.x === 0 ? {} : { x: needs.x } };
        const got = tally(
          policy,
          requirement,
          signatures.map(({ key: i, atMs }) => ({ keyId: keys[i]!.keyId, atMs })),
          askers,
        );
        // The oracle walks people, not signatures.
        const counted = [0, 1, 2, 3, 4].filter(
          (p) =>
            !askers.includes(`p${p}`) &&
            !askers.includes(`id${p}`) &&
            signatures.some(({ key: i, atMs }) => owners[i] === p && atMs < (until[i] ?? 1_000)),
        );
        expect(got.people).toEqual(counted.map((p) => `p${p}`));
        expect(new Set(got.people).size).toBe(got.people.length);
        const ofX = counted.filter((p) => roles[p]!.includes('x')).length;
        expect(got.met).toBe(counted.length >= needs.signatures && ofX >= needs.x);
        expect(got.missing.signatures).toBe(Math.max(0, needs.signatures - counted.length));
      }),
      { numRuns: 200 },
    );
  });
});
