import { canonicalText, type Json, sha256Hex } from './canonical.ts';
import { currencyScale } from './currency.ts';
import { verifyEd25519 } from './ed25519.ts';
import { parseJson } from './json.ts';
import { type Refusal, refuse } from './refusal.ts';
import { formatRfc3339 } from './rfc3339.ts';
import { check, type Static, Type } from './schema.ts';
import { holderOf, isAsker, type SigningPolicy } from './signing-policy.ts';

/**
 * What people sign: a statement of which every field counts, in RFC 8785 form behind a line that no other thing Merit signs begins with. A
 * signature says yes or no to this action on this version of this subject, in this environment, until it expires, and to nothing else.
 */
export const APPROVAL_DOMAIN = 'merit-approval/1';

export const APPROVAL_ACTIONS = ['allocation.apply', 'allocation.revoke', 'signing-policy.change'] as const;
export type ApprovalAction = (typeof APPROVAL_ACTIONS)[number];

const strict = { additionalProperties: false } as const;
const Text = (maxLength: number) => Type.String({ minLength: 1, maxLength });
const Hex64 = Type.String({ pattern: '^[0-9a-f]{64}$' });

export const Statement = Type.Object(
  {
    verdict: Type.Enum(['approve', 'reject']),
    /** The installation: what is signed for one counts in no other. */
    environment: Text(128),
    tenant: Text(63),
    action: Type.Enum([...APPROVAL_ACTIONS]),
    proposal: Text(64),
    /** `version`: of a booking to be applied its version; of one to be revoked its attempt; of the signing policy the version that stands. */
    subject: Type.Object({ kind: Type.Enum(['booking', 'signing-policy']), id: Text(64), version: Text(20) }, strict),
    /** SHA-256 of the RFC 8785 form of what is decided about. */
    contentHash: Hex64,
    /** What it costs at most. null: it costs nothing. */
    amount: Type.Union([
      Type.Object(
        {
          currency: Type.String({ pattern: '^[A-Z]{3}$' }),
          scale: Type.Integer({ minimum: 0, maximum: 4 }),
          minor: Type.String({ pattern: '^(0|[1-9][0-9]{0,18})$' }),
        },
        strict,
      ),
      Type.Null(),
    ]),
    /** Of SentinelNet where it allowed the booking; else of the signing policy. */
    policyVersion: Text(128),
    nonce: Hex64,
    /** RFC 3339, milliseconds, Z. */
    expiresAt: Text(40),
  },
  strict,
);
export type Statement = Readonly<Static<typeof Statement>>;

export type StatementParts = Omit<Statement, 'verdict' | 'amount' | 'expiresAt'> & {
  readonly money: { readonly minor: bigint; readonly currency: string } | null;
  readonly expiresAtMs: number;
};

/** The statement of a proposal, as it is approved. */
export function statementOf({ money, expiresAtMs, ...parts }: StatementParts): Statement {
  const amount =
    money === null
      ? null
      : { currency: money.currency, scale: currencyScale(money.currency), minor: String(money.minor) };
  return { ...parts, verdict: 'approve', amount, expiresAt: formatRfc3339(expiresAtMs) };
}

/** The same, refused: a yes is never read as a no. */
export function rejectionOf(statement: Statement): Statement {
  return { ...statement, verdict: 'reject' };
}

/** The bytes that are signed. */
export function statementBytes(statement: Statement): Buffer {
  return Buffer.from(`${APPROVAL_DOMAIN}\n${canonicalText(statement)}`, 'utf8');
}

/** SHA-256 of the bytes that are signed, lower-case hex. */
export function statementHash(statement: Statement): string {
  return sha256Hex(statementBytes(statement));
}

/** No statement is longer. */
const MAX_STATEMENT_BYTES = 8 * 1024;

export type StatementReading =
  | { readonly ok: true; readonly statement: Statement }
  | { readonly ok: false; readonly refusal: Refusal };

/** Reads the bytes of a statement back; any that are not exactly those of one are refused. */
export function parseStatement(bytes: Uint8Array): StatementReading {
  const no = (field: string, problem: string) => {
    const mend = 'use the file that `merit allocations approve --out` wrote';
    return { ok: false, refusal: refuse('statement', field, problem, mend) } as const;
  };
  const head = `${APPROVAL_DOMAIN}\n`;
  if (bytes.length > MAX_STATEMENT_BYTES) return no('', 'is too long for a statement');
  const text = Buffer.from(bytes).toString('utf8');
  if (!text.startsWith(head)) return no('', 'is no statement that Merit has people sign');
  const reading = parseJson(Buffer.from(text.slice(head.length), 'utf8'));
  if (!reading.ok) return no('', 'does not hold JSON');
  const [first] = check(Statement, reading.value);
  if (first !== undefined) return no(first.field, first.problem);
  const statement = reading.value as Statement;
  if (!statementBytes(statement).equals(bytes)) return no('', 'is not in its canonical form');
  return { ok: true, statement };
}

/** What is wrong with a signature; each has a text for a person. */
export const SIGNATURE_FAULTS = {
  no_signing_policy: 'nobody may sign: no SigningPolicy is declared',
  unknown_key: 'the key is of nobody who may sign',
  outside_window: 'the key does not count at this time',
  bad_signature: 'the signature is not this key’s over this statement',
  requester: 'whoever asked for it cannot sign it',
} as const;
export type SignatureFault = keyof typeof SIGNATURE_FAULTS;

/** The name of the person who signed, by the policy as it stands. */
export function judgeSignature(
  policy: SigningPolicy | undefined,
  statement: Statement,
  given: { readonly keyId: string; readonly signature: Uint8Array; readonly atMs: number },
  askers: readonly string[],
): { readonly person: string } | SignatureFault {
  if (policy === undefined) return 'no_signing_policy';
  const holder = holderOf(policy, given);
  if (typeof holder === 'string') return holder;
  if (!verifyEd25519(holder.publicKey, statementBytes(statement), given.signature)) return 'bad_signature';
  return isAsker(holder.person, askers) ? 'requester' : { person: holder.person.name };
}

export const APPROVAL_EVIDENCE_FORMAT = 'merit-approval-evidence/1';

/** What was signed and by which keys, as an audit event names it by hash. */
export function approvalEvidence(
  statement: Statement,
  content: Json,
  signatures: readonly { readonly keyId: string; readonly signature: Uint8Array; readonly atMs: number }[],
): { readonly [key: string]: Json } {
  return {
    format: APPROVAL_EVIDENCE_FORMAT,
    statement: statement as unknown as Json,
    content,
    signatures: signatures
      .map(({ keyId, signature, atMs }) => ({
        keyId,
        signature: Buffer.from(signature).toString('base64'),
        signedAt: formatRfc3339(atMs),
      }))
      .sort((a, b) => (a.keyId < b.keyId ? -1 : 1)),
  };
}
