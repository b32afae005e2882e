import { type Statement, statementHash } from '../../../core/approval.ts';
import { contentHash } from '../../../core/canonical.ts';
import { decimalText } from '../../../core/decimal.ts';
import { durationText } from '../../../core/duration.ts';
import { CliError, EXIT } from '../exit.ts';
import { facts, type Row } from '../render.ts';

/** A proposal as the server tells it, of which nothing is believed that the statement does not bind. */
export interface Shown extends Row {
  readonly id: string;
  readonly action: Statement['action'];
  readonly state: string;
  readonly statement: Statement;
  readonly statementHash: string;
  readonly content: Row;
  readonly needed: { readonly signatures: number; readonly roles: Readonly<Record<string, number>> };
  readonly missing: { readonly signatures: number; readonly roles: Readonly<Record<string, number>> };
  readonly signed: readonly { readonly person: string; readonly keyId: string; readonly at: string }[];
  readonly now: string;
}

/** Throws where what would be shown is not what would be signed. */
export function requireBound(shown: Shown): void {
  const { statement, content, id, action } = shown;
  const wrong = (what: string) =>
    new CliError(EXIT.tampered, 'not_bound', `the server shows ${what} than the statement binds: nothing was signed`, {
      mend: 'tell whoever runs the server',
    });
  if (statementHash(statement) !== shown.statementHash) throw wrong('another hash');
  if (contentHash(content) !== statement.contentHash) throw wrong('another content');
  if (statement.proposal !== id || statement.action !== action) throw wrong('another proposal');
  if (statement.verdict !== 'approve') throw wrong('another verdict');
  const { cost } = content as { cost?: { amount?: unknown; currency?: unknown } };
  if (action === 'allocation.apply' && `${String(cost?.amount)} ${String(cost?.currency)}` !== amountText(statement))
    throw wrong('another amount');
}

/** `1200.00 USD` */
export function amountText({ amount }: Statement): string {
  if (amount === null) return 'nothing';
  const { currency, scale, minor } = amount;
  return `${scale === 0 ? minor : decimalText(BigInt(minor), scale, scale)} ${currency}`;
}

const TITLES: Readonly<Record<Statement['action'], string>> = {
  'allocation.apply': 'a large allocation goes on',
  'allocation.revoke': 'an allocation ends at once, without notice',
  'signing-policy.change': 'other people, or other thresholds, decide what is signed from now on',
};

/** What a signature says, for the person who gives it. `job`: of an allocation, where it is known. */
export function wordsOf(statement: Statement, more: readonly (readonly [string, unknown])[] = []): string {
  const verb = statement.verdict === 'approve' ? 'yes' : 'NO';
  return facts([
    ['you say', `${verb}: ${TITLES[statement.action]}`],
    ...more,
    ['costs at most', amountText(statement)],
    ['of', `${statement.subject.kind} ${statement.subject.id}, version ${statement.subject.version}`],
    ['in', `${statement.environment}, tenant ${statement.tenant}`],
    ['under policy', statement.policyVersion],
    ['sign by', statement.expiresAt],
    ['statement', statementHash(statement)],
  ]);
}

/** What the content that the statement binds says in words. */
export function contentWords({ action, content }: Shown): readonly (readonly [string, unknown])[] {
  switch (action) {
    case 'allocation.apply':
      if (typeof content.money === 'object' && content.money !== null) return moneyWords(content);
      return [
        ['who asks', `${String(content.requester)}, for division ${String(content.division)}`],
        ['where', `${String(content.pool)}/${String(content.flavour)} on ${String(content.provider)}`],
        ['how much', `${units(content)} for ${durationText(Number(content.leaseMs))}`],
        ['model', content.model],
        ...(content.tasks === undefined ? [] : [['one of', `${String(content.tasks)} tasks of an array`] as const]),
        ['job', `spec ${String(content.contentHash)}`],
      ];
    case 'allocation.revoke':
      return [
        [
          'what ends',
          `${String(content.name)} of division ${String(content.division)}, attempt ${String(content.attempt)}`,
        ],
        ['whose', content.requester],
        ['why', content.reason],
      ];
    case 'signing-policy.change':
      return policyWords(content.document);
  }
}

function moneyWords(content: Row): readonly (readonly [string, unknown])[] {
  const { purpose, agent } = content.money as Row;
  return [
    ['who asks', `${String(content.requester)}, for division ${String(content.division)}`],
    ['what', `money alone, for ${durationText(Number(content.leaseMs))}`],
    ...(agent === undefined ? [] : [['who spends it', agent] as const]),
    ['what for', purpose],
  ];
}

function units({ gpuMilli, cpuMilli }: Row): string {
  const of = (milli: unknown) => decimalText(BigInt(String(milli)), 3);
  return String(gpuMilli) === '0' ? `${of(cpuMilli)} CPUs` : `${of(gpuMilli)} GPUs, ${of(cpuMilli)} CPUs`;
}

/** Every member of the next policy: who reads half of it does not know whose key it lets in. */
function policyWords(document: unknown): readonly (readonly [string, unknown])[] {
  if (document === null) return [['next policy', 'none: nothing asks for signatures any more but SentinelNet']];
  return [
    ['next policy', 'as follows, whole'],
    ...leavesOf(document as object).map(([field, value]) => [`  ${field}`, value] as const),
  ];
}

/** `people.0.name` and its value, of every member that has no members. */
function leavesOf(value: object, field = ''): readonly (readonly [string, string])[] {
  return Object.entries(value).flatMap(([name, member]) => {
    const isBranch = typeof member === 'object' && member !== null && Object.keys(member).length > 0;
    return isBranch ? leavesOf(member, `${field}${name}.`) : [[`${field}${name}`, leafText(member)] as const];
  });
}

function leafText(member: unknown): string {
  return typeof member === 'object' ? JSON.stringify(member) : String(member);
}

/** Field by field, what two statements say differently. */
export function statementDiff(was: Statement, is: Statement): string {
  const [before, after] = [new Map(leavesOf(was)), new Map(leavesOf(is))];
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter((field) => before.get(field) !== after.get(field))
    .map((field) => `  ${field}: signed ${before.get(field) ?? '(absent)'}, now ${after.get(field) ?? '(absent)'}`)
    .join('\n');
}
