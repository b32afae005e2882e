import { durationMs } from './duration.ts';
import { ed25519KeyId, publicKeyFault } from './ed25519.ts';
import { type Refusal, RefusedInput, refuse } from './refusal.ts';
import { parseRfc3339 } from './rfc3339.ts';
import { check, type Static, Type } from './schema.ts';

/** Who may sign, and how many of them what takes: one document a tenant. Without it nothing asks for signatures but SentinelNet. */

const strict = { additionalProperties: false } as const;
const Slug = Type.String({ maxLength: 63, pattern: '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$' });
const Time = Type.String({ maxLength: 40, description: 'RFC 3339' });

const MAX_PEOPLE = 64;
const MAX_KEYS_OF_ONE = 8;
const MAX_RULES = 100;
/** As many as SentinelNet may ask for. */
const MAX_SIGNATURES = 16;

const Count = Type.Integer({ minimum: 0, maximum: MAX_SIGNATURES });
const quorum = {
  signatures: Count,
  roles: Type.Optional(
    Type.Record(Slug, Count, { description: 'of the people who sign, at least so many of each role' }),
  ),
};

const Person = Type.Object(
  {
    name: Slug,
    roles: Type.Optional(Type.Array(Slug, { maxItems: 16 })),
    principals: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 256 }), {
        maxItems: 16,
        description: 'the identities and users under which this person asks: nobody signs what they asked for',
      }),
    ),
    keys: Type.Array(
      Type.Object(
        {
          publicKey: Type.String({
            maxLength: 44,
            description: 'Ed25519, 32 bytes in base64; `merit signer new` prints it',
          }),
          validFrom: Type.Optional(Time),
          validTo: Type.Optional(Time),
        },
        strict,
      ),
      { minItems: 1, maxItems: MAX_KEYS_OF_ONE },
    ),
  },
  strict,
);

export const SigningPolicy = Type.Object(
  {
    apiVersion: Type.Literal('merit/v1'),
    kind: Type.Literal('SigningPolicy'),
    people: Type.Array(Person, { minItems: 1, maxItems: MAX_PEOPLE }),
    /** All that match count: the most signatures, and of each role the most. */
    allocations: Type.Optional(
      Type.Array(
        Type.Object(
          {
            /** Matches a cost above it, of an array that of all its tasks, and a cost in another currency: what cannot be compared is not let through. */
            above: Type.Optional(
              Type.Object(
                {
                  amount: Type.String({ maxLength: 24, pattern: '^(0|[1-9][0-9]{0,12})(\\.[0-9]{2})?$' }),
                  currency: Type.String({ pattern: '^[A-Z]{3}$' }),
                },
                strict,
              ),
            ),
            division: Type.Optional(Slug),
            pool: Type.Optional(Slug),
            ...quorum,
          },
          strict,
        ),
        { maxItems: MAX_RULES },
      ),
    ),
    /** For another SigningPolicy in place of this one, or none. */
    changes: Type.Object(quorum, strict),
    /** For the end of an allocation that runs. */
    revoke: Type.Object(quorum, strict),
    /** How long signatures are waited for; absent: 24h. */
    expireAfter: Type.Optional(Type.String({ maxLength: 16 })),
  },
  { ...strict, $id: 'https://merit.local/schemas/signing-policy.json', title: 'Merit signing policy' },
);
export type SigningPolicy = Static<typeof SigningPolicy>;
export type Signatory = SigningPolicy['people'][number];

/** Distinct people, and of them how many of each role. */
export interface Requirement {
  readonly signatures: number;
  readonly roles: Readonly<Record<string, number>>;
}

const DEFAULT_EXPIRY_MS = 24 * 3_600_000;
const MIN_EXPIRY_MS = 60_000;
const MAX_EXPIRY_MS = 30 * 24 * 3_600_000;

/** A checked policy; throws RefusedInput with every problem at once. */
export function parseSigningPolicy(value: unknown): SigningPolicy {
  const refusals: Refusal[] = [...check(SigningPolicy, value)];
  if (refusals.length > 0) throw new RefusedInput(refusals);
  const policy = value as SigningPolicy;
  refusals.push(...peopleRefusals(policy), ...quorumRefusals(policy), ...expiryRefusals(policy));
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return policy;
}

function peopleRefusals({ people }: SigningPolicy): readonly Refusal[] {
  const refusals: Refusal[] = [];
  const owners = new Map<string, string>();
  const once = (field: string, what: string, owner: string): void => {
    const other = owners.get(what);
    if (other !== undefined)
      refusals.push(
        refuse('duplicate_principal', field, `is ${other}’s already`, 'one person, one entry, with all its keys'),
      );
    owners.set(what, owner);
  };
  for (const [i, { name, principals = [], keys }] of people.entries()) {
    once(`people.${i}.name`, `principal ${name}`, name);
    for (const [j, principal] of principals.entries())
      if (principal !== name) once(`people.${i}.principals.${j}`, `principal ${principal}`, name);
    for (const [j, key] of keys.entries()) {
      const field = `people.${i}.keys.${j}`;
      const fault = keyRefusal(`${field}.publicKey`, key.publicKey);
      if (fault === undefined)
        once(`${field}.publicKey`, `key ${ed25519KeyId(Buffer.from(key.publicKey, 'base64'))}`, name);
      else refusals.push(fault);
      refusals.push(...windowRefusals(field, key));
    }
  }
  return refusals;
}

/** Why a public key in base64 must not sign; undefined: it may. */
export function keyRefusal(field: string, text: string): Refusal | undefined {
  const raw = Buffer.from(text, 'base64');
  if (raw.toString('base64') !== text || raw.length !== 32)
    return refuse('public_key', field, 'is not 32 bytes in base64', 'write what `merit signer show` prints');
  const fault = publicKeyFault(raw);
  if (fault === undefined) return undefined;
  return refuse('weak_key', field, `is a key that proves nothing (${fault})`, 'make one: `merit signer new`');
}

function windowRefusals(field: string, key: Signatory['keys'][number]): readonly Refusal[] {
  const refusals: Refusal[] = [];
  for (const name of ['validFrom', 'validTo'] as const) {
    const text = key[name];
    if (text !== undefined && parseRfc3339(text) === undefined)
      refusals.push(
        refuse('time_format', `${field}.${name}`, 'is no RFC 3339 time with a zone', 'write 2026-12-01T00:00:00Z'),
      );
  }
  const { fromMs, toMs } = windowOf(key);
  if (refusals.length === 0 && toMs <= fromMs)
    refusals.push(refuse('range', `${field}.validTo`, 'is not after validFrom', 'write a later time'));
  return refusals;
}

/** The rules by the name of their field, with the fewest signatures that each may ask for: one alone lets nothing large through. */
function* rulesOf(policy: SigningPolicy): Iterable<readonly [string, Static<typeof SigningPolicy>['changes'], number]> {
  for (const [i, rule] of (policy.allocations ?? []).entries()) yield [`allocations.${i}`, rule, 2];
  yield ['changes', policy.changes, 2];
  yield ['revoke', policy.revoke, 1];
}

function quorumRefusals(policy: SigningPolicy): readonly Refusal[] {
  const refusals: Refusal[] = [];
  for (const [field, { signatures, roles = {} }, least] of rulesOf(policy)) {
    const count = policy.people.length;
    const at = `${field}.signatures`;
    if (signatures < least)
      refusals.push(
        refuse('threshold', at, `is ${signatures}`, `ask for ${least} or more: else nobody else has to agree`),
      );
    if (signatures > count)
      refusals.push(refuse('threshold', at, `is ${signatures} of ${count} people`, 'ask for fewer, or add people'));
    for (const [role, least] of Object.entries(roles)) {
      const holders = policy.people.filter((person) => person.roles?.includes(role)).length;
      const of = `${field}.roles.${role}`;
      if (least > holders)
        refusals.push(
          refuse('threshold', of, `is ${least}, and ${holders} people have the role`, 'give it to more people'),
        );
      if (least > signatures)
        refusals.push(refuse('threshold', of, `is ${least} of ${signatures} signatures`, 'ask for more signatures'));
    }
  }
  return refusals;
}

function expiryRefusals({ expireAfter }: SigningPolicy): readonly Refusal[] {
  if (expireAfter === undefined) return [];
  const ms = durationMs(expireAfter);
  if (ms === undefined) return [refuse('duration', 'expireAfter', 'is not a duration', 'write 30m, 2h or 1d')];
  if (ms >= MIN_EXPIRY_MS && ms <= MAX_EXPIRY_MS) return [];
  return [refuse('range', 'expireAfter', 'must be between 1m and 30d', 'change it')];
}

export function expiryMsOf(policy: SigningPolicy | undefined): number {
  return (policy?.expireAfter === undefined ? undefined : durationMs(policy.expireAfter)) ?? DEFAULT_EXPIRY_MS;
}

/** Why nobody could ever change this policy again, by the keys that count at a time; undefined: they can. */
export function lockedOut(policy: SigningPolicy, atMs: number): Refusal | undefined {
  const people = policy.people.filter(({ keys }) =>
    keys.some((key) => {
      const { fromMs, toMs } = windowOf(key);
      return atMs >= fromMs && atMs < toMs;
    }),
  );
  const { signatures, roles } = requirementOf(policy.changes);
  const enough =
    people.length >= signatures &&
    Object.entries(roles).every(([role, least]) => people.filter((one) => one.roles?.includes(role)).length >= least);
  if (enough) return undefined;
  const problem = `asks for more than the ${people.length} people whose keys count now could sign: it could never be changed again`;
  return refuse('locked_out', 'changes', problem, 'mend validFrom and validTo, or ask for fewer');
}

/** What an allocation costs at most, and whose and where it is. */
export interface AllocationAsk {
  readonly division: string;
  readonly pool: string;
  readonly cents: bigint;
  readonly currency: string;
  /** Of the array that it is one of. Absent: it is none. */
  readonly tasks?: number;
}

/** What the policy and SentinelNet together ask for an allocation; no signatures: none. */
export function allocationRequirement(
  policy: SigningPolicy | undefined,
  { division, pool, cents, currency, tasks = 1 }: AllocationAsk,
  bySentinelNet: number,
): Requirement {
  let signatures = bySentinelNet;
  const roles: Record<string, number> = {};
  // A task is judged by what its whole array costs at its price: what is large stays large in pieces.
  const whole = cents * BigInt(tasks);
  for (const rule of policy?.allocations ?? []) {
    if (rule.division !== undefined && rule.division !== division) continue;
    if (rule.pool !== undefined && rule.pool !== pool) continue;
    if (rule.above?.currency === currency && whole <= centsOf(rule.above.amount)) continue;
    signatures = Math.max(signatures, rule.signatures);
    for (const [role, least] of Object.entries(rule.roles ?? {})) roles[role] = Math.max(roles[role] ?? 0, least);
  }
  return { signatures, roles };
}

/** `12.50` → 1250n, `12` → 1200n. The schema has held its form. */
function centsOf(text: string): bigint {
  const [whole = '0', fraction = '00'] = text.split('.');
  return BigInt(whole) * 100n + BigInt(fraction);
}

export function requirementOf({ signatures, roles = {} }: SigningPolicy['changes']): Requirement {
  return { signatures, roles };
}

/** A signature that was taken: by which key, and when. */
export interface Signed {
  readonly keyId: string;
  readonly atMs: number;
}

/** Whose key it is in this policy and its bytes; `outside_window`: at that time it does not count. */
export function holderOf(
  policy: SigningPolicy,
  { keyId, atMs }: Signed,
): { readonly person: Signatory; readonly publicKey: Uint8Array } | 'unknown_key' | 'outside_window' {
  for (const person of policy.people) {
    for (const key of person.keys) {
      const publicKey = Buffer.from(key.publicKey, 'base64');
      if (ed25519KeyId(publicKey) !== keyId) continue;
      const { fromMs, toMs } = windowOf(key);
      return atMs >= fromMs && atMs < toMs ? { person, publicKey } : 'outside_window';
    }
  }
  return 'unknown_key';
}

function windowOf({ validFrom, validTo }: Signatory['keys'][number]): {
  readonly fromMs: number;
  readonly toMs: number;
} {
  return {
    fromMs: (validFrom === undefined ? undefined : parseRfc3339(validFrom)) ?? Number.NEGATIVE_INFINITY,
    toMs: (validTo === undefined ? undefined : parseRfc3339(validTo)) ?? Number.POSITIVE_INFINITY,
  };
}

/** From when to before when signatures may be given. */
export interface SigningTime {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Who could still sign, or sign again, within this time: a key of theirs counts then, and they did not ask. */
export function signatoriesWithin(
  policy: SigningPolicy | undefined,
  askers: readonly string[],
  { fromMs, toMs }: SigningTime,
): readonly Signatory[] {
  const counts = (key: Signatory['keys'][number]) => {
    const window = windowOf(key);
    return Math.max(fromMs, window.fromMs) < Math.min(toMs, window.toMs);
  };
  return (policy?.people ?? []).filter((person) => !isAsker(person, askers) && person.keys.some(counts));
}

/** Whether a person is one of those who asked, under whatever name. */
export function isAsker({ name, principals = [] }: Signatory, askers: readonly string[]): boolean {
  return askers.some((asker) => asker === name || principals.includes(asker));
}

/** Whom a signature counts for by this policy; undefined: for nobody, whatever it once was. */
function countedFor(
  policy: SigningPolicy | undefined,
  signed: Signed,
  askers: readonly string[],
): Signatory | undefined {
  const holder = policy === undefined ? 'unknown_key' : holderOf(policy, signed);
  return typeof holder === 'string' || isAsker(holder.person, askers) ? undefined : holder.person;
}

/**
 * Those that count by this policy. What rests on signatures names these alone: one of a key that was taken away since, of a person who left or who has asked, was
 * true when it was made, and would be read as a lie by whoever holds it to the policy by which the others count.
 */
export function counting<S extends Signed>(
  policy: SigningPolicy,
  signatures: readonly S[],
  askers: readonly string[],
): readonly S[] {
  return signatures.filter((one) => countedFor(policy, one, askers) !== undefined);
}

export interface Tally {
  /** Names of those whose signatures count, each once. */
  readonly people: readonly string[];
  /** What is still missing of the requirement; nothing: it is met. */
  readonly missing: Requirement;
  readonly met: boolean;
  /** False: too few people are left who could sign what is missing. */
  readonly possible: boolean;
}

const ALL_TIME: SigningTime = { fromMs: Number.NEGATIVE_INFINITY, toMs: Number.POSITIVE_INFINITY };

/** Counts people, not keys, and only by the policy as it stands; whoever asked is none of them. `within`: when the others have to sign. */
export function tally(
  policy: SigningPolicy | undefined,
  requirement: Requirement,
  signatures: readonly Signed[],
  askers: readonly string[],
  within: SigningTime = ALL_TIME,
): Tally {
  const signed = new Map<string, Signatory>();
  for (const one of signatures) {
    const person = countedFor(policy, one, askers);
    if (person !== undefined) signed.set(person.name, person);
  }
  const people = [...signed.values()];
  const others = signatoriesWithin(policy, askers, within).filter(({ name }) => !signed.has(name));
  const having = (role: string, of: readonly Signatory[]) => of.filter(({ roles = [] }) => roles.includes(role)).length;
  const roles = Object.fromEntries(
    Object.entries(requirement.roles)
      .map(([role, least]) => [role, Math.max(0, least - having(role, people))] as const)
      .filter(([, lacks]) => lacks > 0),
  );
  const missing = { signatures: Math.max(0, requirement.signatures - people.length), roles };
  const met = missing.signatures === 0 && Object.keys(roles).length === 0;
  const possible =
    others.length >= missing.signatures &&
    Object.entries(roles).every(([role, lacks]) => having(role, others) >= lacks);
  return { people: people.map(({ name }) => name).sort(), missing, met, possible };
}
