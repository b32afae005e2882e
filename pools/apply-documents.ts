import { contentHash, type Json } from '../core/canonical.ts';
import { type Refusal, RefusedInput, refuse } from '../core/refusal.ts';
import { lockedOut } from '../core/signing-policy.ts';
import type { Tx } from '../platform/postgres.ts';
import { type DrainDebt, settleLimits } from './account-limits.ts';
import { closeBudget, settleBudget } from './budget-periods.ts';
import { type Difference, differences } from './differences.ts';
import { documentRefusals } from './document-checks.ts';
import {
  type Actor,
  deleteDocument,
  divisionNames,
  lockDocuments,
  removalBefore,
  type Stored,
  storedDocuments,
  tellDocument,
  writeDocument,
} from './document-store.ts';
import {
  type Document,
  type DocumentKind,
  documentKey,
  documentName,
  documentTitle,
  inOrder,
  within,
} from './documents.ts';
import type { BudgetFile } from './pool-file.ts';

/** A document to apply; `ifVersion`: only where it is at this version, 0 where there is none yet. */
export interface Wanted {
  readonly document: Document;
  readonly ifVersion?: bigint;
  /** Stands before the fields of what is refused of it: `documents.2`. */
  readonly field?: string;
}

export interface DocumentChange {
  readonly kind: DocumentKind;
  readonly name: string;
  readonly change: 'created' | 'replaced' | 'unchanged' | 'removed';
  /** Of a dry run the version that stands. */
  readonly version: bigint;
  readonly differences: readonly Difference[];
}

export type Applied =
  | {
      readonly kind: 'applied';
      /** In the order in which they were applied. */
      readonly changes: readonly DocumentChange[];
      readonly drainDebt: readonly DrainDebt[];
    }
  /** Somebody changed one since the version given; nothing was changed. */
  | { readonly kind: 'stale'; readonly key: string; readonly version: bigint };

/** What a change of the signing policy rests on, for its audit event: the signatures, and the policy by which they count. */
export interface SignedChange {
  readonly evidence: Json;
  readonly causes: Json;
  readonly proposal: string;
  readonly requester: string;
  readonly signedBy: Json;
}

interface ChangeOptions {
  readonly dryRun?: boolean;
  /** Absent: nobody signed, so that the signing policy that stands stays. */
  readonly signed?: SignedChange;
}

/**
 * Applies documents in the caller's transaction, all or none, in the order of what they name, with an audit event for each that differs. A
 * limit lowered below what is in use takes the free part now; the rest is drain debt. Throws RefusedInput where they, or what others say
 * of them, do not go together. A dry run says the same and changes nothing.
 */
export async function applyDocuments(
  tx: Tx,
  by: Actor,
  wanted: readonly Wanted[],
  options: ChangeOptions = {},
): Promise<Applied> {
  await lockDocuments(tx, by.tenant);
  const before = new Map((await storedDocuments(tx, by.tenant)).map((one) => [documentKey(one.document), one]));
  for (const { document, ifVersion } of wanted) {
    const key = documentKey(document);
    const version = before.get(key)?.version ?? 0n;
    if (ifVersion !== undefined && ifVersion !== version) return { kind: 'stale', key, version };
  }
  refusePolicies(before, wanted, options.signed !== undefined, by.nowMs);
  const after = new Map([...before].map(([key, { document }]) => [key, document]));
  for (const { document } of wanted) after.set(documentKey(document), document);
  refuseContradictions(
    [...after.values()],
    new Map(wanted.map(({ document, field }) => [documentKey(document), field ?? ''])),
  );
  return undoneIf(options.dryRun === true, tx, async () => {
    const changes: DocumentChange[] = [];
    const debts: DrainDebt[] = [];
    for (const document of inOrder(wanted.map((one) => one.document))) {
      const stood = before.get(documentKey(document));
      changes.push(await applyOne(tx, by, document, stood, options));
      if (document.kind === 'Budget' && changes.at(-1)?.change !== 'unchanged')
        debts.push(
          ...(await settleBudget(tx, by.tenant, document, stood?.document as BudgetFile | undefined, by.nowMs)),
        );
    }
    if (changes.some(({ change }) => change !== 'unchanged')) debts.push(...(await settle(tx, by, after)));
    return { kind: 'applied', changes, drainDebt: debts };
  });
}

async function applyOne(
  tx: Tx,
  by: Actor,
  document: Document,
  stood: Stored | undefined,
  { dryRun = false, signed }: ChangeOptions,
): Promise<DocumentChange> {
  const { kind } = document;
  const name = documentName(document);
  if (stood !== undefined && contentHash(stood.document) === contentHash(document))
    return { kind, name, change: 'unchanged', version: stood.version, differences: [] };
  const version = await writeDocument(tx, by.tenant, document);
  const file = document as unknown as Json;
  await tellDocument(tx, by, { kind, name }, stood === undefined ? 'created' : 'changed', {
    version: String(version),
    ...(kind === 'Pool' ? { pool: file } : { file }),
    ...(kind === 'SigningPolicy' ? (signed ?? (await removalBefore(tx, by.tenant, { kind, name }))) : {}),
  });
  return {
    kind,
    name,
    change: stood === undefined ? 'created' : 'replaced',
    version: dryRun ? (stood?.version ?? 0n) : version,
    differences: differences(stood?.document, document),
  };
}

/** Whoever may sign decides who may sign next; the first policy is the operator's to declare. One that nobody could change again never stands. */
function refusePolicies(
  before: ReadonlyMap<string, Stored>,
  wanted: readonly Wanted[],
  isSigned: boolean,
  nowMs: number,
): void {
  for (const { document, field = '' } of wanted) {
    if (document.kind !== 'SigningPolicy') continue;
    const stood = before.get(documentKey(document))?.document;
    if (stood !== undefined && contentHash(stood) === contentHash(document)) continue;
    if (stood !== undefined && !isSigned) throw new RefusedInput([needsSignatures(field)]);
    const fault = lockedOut(document, nowMs);
    if (fault !== undefined)
      throw new RefusedInput([{ ...fault, field: field === '' ? fault.field : `${field}.${fault.field}` }]);
  }
}

function needsSignatures(field: string): Refusal {
  const problem = 'changes the SigningPolicy that stands, and the people in it have to sign that';
  return refuse('needs_signatures', field, problem, 'propose it: `merit proposals new -f FILE`');
}

async function settle(tx: Tx, by: Actor, documents: ReadonlyMap<string, Document>): Promise<readonly DrainDebt[]> {
  return settleLimits(tx, by.tenant, [...documents.values()], await divisionNames(tx, by.tenant));
}

/** Does the work, and undoes it where it is only to be seen what it would do. */
async function undoneIf<T>(dryRun: boolean, tx: Tx, work: () => Promise<T>): Promise<T> {
  if (!dryRun) return work();
  await tx.execute('savepoint dry_run');
  const result = await work();
  await tx.execute('rollback to savepoint dry_run');
  return result;
}

function refuseContradictions(documents: readonly Document[], fields: ReadonlyMap<string, string>): void {
  const titles = new Map(documents.map((document) => [documentKey(document), documentTitle(document)]));
  const refusals = documentRefusals(documents).map(({ key, refusal }): Refusal => {
    const field = fields.get(key);
    if (field === undefined) return within(titles.get(key) ?? key, refusal);
    return field === '' ? refusal : within(field, refusal);
  });
  if (refusals.length > 0) throw new RefusedInput(refusals);
}

export type Removed =
  | Applied
  | { readonly kind: 'not_found' }
  | { readonly kind: 'in_use'; readonly refusals: readonly Refusal[] };

/** Removes a document, unless something still rests on it. A pool is never removed: it is drained. */
export async function removeDocument(
  tx: Tx,
  by: Actor,
  kind: Exclude<DocumentKind, 'Pool'>,
  name: string,
  options: ChangeOptions & { readonly ifVersion?: bigint } = {},
): Promise<Removed> {
  await lockDocuments(tx, by.tenant);
  const stored = await storedDocuments(tx, by.tenant);
  const stood = stored.find(({ document }) => document.kind === kind && documentName(document) === name);
  const isBareDivision =
    kind === 'Division' && stood === undefined && (await divisionNames(tx, by.tenant)).includes(name);
  if (stood === undefined && !isBareDivision) return { kind: 'not_found' };
  const version = stood?.version ?? 0n;
  if (options.ifVersion !== undefined && options.ifVersion !== version)
    return { kind: 'stale', key: `${kind}/${name}`, version };
  if (kind === 'SigningPolicy' && options.signed === undefined) throw new RefusedInput([needsSignatures('')]);
  const refusals = [...usersOf(stored, kind, name), ...(kind === 'Division' ? await workOf(tx, by.tenant, name) : [])];
  if (refusals.length > 0) return { kind: 'in_use', refusals };
  return undoneIf(options.dryRun === true, tx, async () => {
    await deleteDocument(tx, by.tenant, kind, name);
    if (kind === 'Division')
      await tx.execute('update divisions set removed = true where tenant = $1 and division = $2', [by.tenant, name]);
    const rests = kind === 'SigningPolicy' ? options.signed : {};
    await tellDocument(tx, by, { kind, name }, 'removed', { version: String(version), ...rests });
    const rest = new Map(stored.map(({ document }) => [documentKey(document), document]));
    rest.delete(`${kind}/${name}`);
    const budget = stood?.document.kind === 'Budget' ? stood.document : undefined;
    const debts =
      budget === undefined
        ? await settle(tx, by, rest)
        : await closeBudget(tx, by.tenant, budget.division, budget.currency);
    const change: DocumentChange = {
      kind,
      name,
      change: 'removed',
      version,
      differences: differences(stood?.document, undefined),
    };
    return { kind: 'applied', changes: [change], drainDebt: debts };
  });
}

/** Documents that name it. */
function usersOf(stored: readonly Stored[], kind: DocumentKind, name: string): readonly Refusal[] {
  return stored.flatMap(({ document }) => {
    const uses =
      (kind === 'Group' && document.kind === 'Group' && document.parent === name) ||
      (kind === 'Group' && document.kind === 'Division' && document.group === name) ||
      (kind === 'Division' && document.kind === 'Pool' && Object.hasOwn(document.quotas, name)) ||
      (kind === 'Division' && document.kind === 'Budget' && document.division === name);
    if (!uses) return [];
    return [refuse('in_use', '', `${documentTitle(document)} names ${name}`, 'change or remove that first')];
  });
}

/** Bookings that live, and models, of a division. */
async function workOf(tx: Tx, tenant: string, division: string): Promise<readonly Refusal[]> {
  const [row] = await tx.query<{ bookings: bigint; models: bigint }>(
    `select (select count(*) from bookings where tenant = $1 and division = $2 and not ended) as bookings,
            (select count(*) from models where tenant = $1 and division = $2) as models`,
    [tenant, division],
  );
  const refusals: Refusal[] = [];
  if (row !== undefined && row.bookings > 0n) {
    const problem = `${row.bookings} jobs of ${division} live`;
    refusals.push(refuse('in_use', '', problem, 'wait for their end, or cancel them: `merit ps --division`'));
  }
  if (row !== undefined && row.models > 0n)
    refusals.push(refuse('in_use', '', `${row.models} models belong to ${division}`, 'give them to another division'));
  return refusals;
}

/** A pool that takes no new work, or that all has to leave; undefined: there is no such pool. */
export async function setPoolState(
  tx: Tx,
  by: Actor,
  pool: string,
  wanted: 'cordon' | 'uncordon' | 'drain',
  ifVersion?: bigint,
): Promise<{ readonly kind: 'done' | 'stale'; readonly version: bigint } | undefined> {
  await lockDocuments(tx, by.tenant);
  const rows = await tx.query<{ cordoned: boolean; draining: boolean; version: bigint }>(
    'select cordoned, draining, version from pools where tenant = $1 and pool = $2 for update',
    [by.tenant, pool],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  if (ifVersion !== undefined && ifVersion !== row.version) return { kind: 'stale', version: row.version };
  const cordoned = wanted !== 'uncordon';
  const draining = wanted === 'drain' || (wanted === 'cordon' && row.draining);
  if (row.cordoned === cordoned && row.draining === draining) return { kind: 'done', version: row.version };
  const [after] = await tx.query<{ version: bigint }>(
    'update pools set cordoned = $3, draining = $4, version = version + 1 where tenant = $1 and pool = $2 returning version',
    [by.tenant, pool, cordoned, draining],
  );
  const version = after?.version ?? row.version;
  const what = ({ cordon: 'cordoned', uncordon: 'uncordoned', drain: 'draining' } as const)[wanted];
  await tellDocument(tx, by, { kind: 'Pool', name: pool }, what, { version: String(version), cordoned, draining });
  return { kind: 'done', version };
}
