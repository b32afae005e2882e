import { type Refusal, RefusedInput, refuse } from '../core/refusal.ts';
import { parseSigningPolicy, type SigningPolicy } from '../core/signing-policy.ts';
import { type BudgetFile, type PoolFile, parseBudget, parsePool } from './pool-file.ts';
import { parseScheduling, type SchedulingFile } from './scheduling-file.ts';
import {
  type DivisionFile,
  type GroupFile,
  type PriorityClassFile,
  parseDivision,
  parseGroup,
  parsePriorityClass,
} from './tree-files.ts';

/** What an operator declares of a tenant, a document each. */
export type Document =
  | PoolFile
  | GroupFile
  | DivisionFile
  | PriorityClassFile
  | BudgetFile
  | SchedulingFile
  | SigningPolicy;
export type DocumentKind = Document['kind'];

/** Whatever is named comes before what names it; the rest is by this order for a reader's sake. */
export const DOCUMENT_KINDS = [
  'Group',
  'Division',
  'PriorityClass',
  'Pool',
  'Budget',
  'Scheduling',
  'SigningPolicy',
] as const;

/** The one document of its kind that a tenant has. */
export const SCHEDULING_NAME = 'default';
export const SIGNING_POLICY_NAME = 'default';

/** Documents applied at once. */
export const MAX_DOCUMENTS = 1_000;

/** A checked document of whatever kind it says; throws RefusedInput with every problem of it at once. */
export function parseDocument(value: unknown): Document {
  const kind = (value as { kind?: unknown } | null | undefined)?.kind;
  switch (kind as DocumentKind | undefined) {
    case 'Pool':
      return parsePool(value);
    case 'Group':
      return parseGroup(value);
    case 'Division':
      return parseDivision(value);
    case 'PriorityClass':
      return parsePriorityClass(value);
    case 'Budget':
      return parseBudget(value);
    case 'Scheduling':
      return parseScheduling(value);
    case 'SigningPolicy':
      return parseSigningPolicy(value);
    case undefined:
      throw new RefusedInput([refuse('required', 'kind', 'is missing', `add one of ${DOCUMENT_KINDS.join(', ')}`)]);
  }
  throw new RefusedInput([refuse('kind', 'kind', 'is no kind of document', `write ${DOCUMENT_KINDS.join(', ')}`)]);
}

/** All of a list; fields say of which: `documents.2.quotas`. Throws RefusedInput with every problem of all. */
export function parseDocuments(values: readonly unknown[]): readonly Document[] {
  const refusals: Refusal[] = [];
  const documents: Document[] = [];
  const seen = new Map<string, number>();
  for (const [i, value] of values.entries()) {
    try {
      const document = parseDocument(value);
      const first = seen.get(documentKey(document));
      if (first !== undefined) {
        const problem = `is ${documentTitle(document)}, as documents.${first} is`;
        refusals.push(refuse('duplicate', `documents.${i}`, problem, 'remove one'));
      }
      seen.set(documentKey(document), i);
      documents.push(document);
    } catch (error) {
      if (!(error instanceof RefusedInput)) throw error;
      refusals.push(...error.refusals.map((refusal) => within(`documents.${i}`, refusal)));
    }
  }
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return documents;
}

/** The refusal as of a part of something larger. */
export function within(prefix: string, refusal: Refusal): Refusal {
  return { ...refusal, field: refusal.field === '' ? prefix : `${prefix}.${refusal.field}` };
}

export function documentName(document: Document): string {
  switch (document.kind) {
    case 'Pool':
    case 'Group':
    case 'Division':
    case 'PriorityClass':
      return document.name;
    case 'Budget':
      return budgetName(document.division, document.currency);
    case 'Scheduling':
      return SCHEDULING_NAME;
    case 'SigningPolicy':
      return SIGNING_POLICY_NAME;
  }
}

export function budgetName(division: string, currency: string): string {
  return `${division}-${currency}`;
}

/** Unlike that of any other document of the tenant. */
export function documentKey(document: Document): string {
  return `${document.kind}/${documentName(document)}`;
}

export function documentTitle(document: Document): string {
  const isAlone = document.kind === 'Scheduling' || document.kind === 'SigningPolicy';
  return isAlone ? document.kind : `${document.kind} ${documentName(document)}`;
}

/** In the order of application: by kind, groups after their parents, then by name. */
export function inOrder(documents: readonly Document[]): readonly Document[] {
  const depths = new Map<string, number>();
  const groups = new Map(documents.flatMap((one) => (one.kind === 'Group' ? [[one.name, one] as const] : [])));
  for (const [name] of groups) {
    let depth = 0;
    for (let at = groups.get(name)?.parent; at != null && depth <= groups.size; at = groups.get(at)?.parent) depth++;
    depths.set(name, depth);
  }
  const rank = (one: Document) => DOCUMENT_KINDS.indexOf(one.kind);
  const depth = (one: Document) => (one.kind === 'Group' ? (depths.get(one.name) ?? 0) : 0);
  return [...documents].sort(
    (a, b) => rank(a) - rank(b) || depth(a) - depth(b) || (documentName(a) < documentName(b) ? -1 : 1),
  );
}
