import type { Json } from '../../../core/canonical.ts';
import { RefusedInput, refuse } from '../../../core/refusal.ts';
import type { Tx } from '../../../platform/postgres.ts';
import type { DrainDebt } from '../../../pools/account-limits.ts';
import { applyDocuments, type DocumentChange, removeDocument, type Wanted } from '../../../pools/apply-documents.ts';
import { divisionNames } from '../../../pools/document-store.ts';
import {
  type Document,
  documentKey,
  documentName,
  MAX_DOCUMENTS,
  parseDocument,
  parseDocuments,
} from '../../../pools/documents.ts';
import type { Caller, DocumentsService, Page, Rows, StoredKind, Versioned, View } from '../services.ts';
import { moneyText, type RoomPorts, requesterOf, unitsText } from './base.ts';

type Providers = Pick<RoomPorts['providers'], 'refusals'>;

export function documentsOf(providers: Providers): DocumentsService {
  return {
    list,
    get,
    put: (tx, caller, value, expected, options) => put(providers, tx, caller, value, expected, options),
    remove: async (tx, caller, kind, name, options) => {
      const ifVersion = demanded(options.ifVersion);
      const removed = await removeDocument(tx, requesterOf(caller), kind, name, {
        dryRun: options.dryRun,
        ...(ifVersion === undefined ? {} : { ifVersion }),
      });
      switch (removed.kind) {
        case 'not_found':
        case 'in_use':
          return removed;
        case 'stale':
          return { kind: 'stale', key: removed.key, version: versionText(removed.version) };
        case 'applied':
          return { kind: 'done', view: appliedView(removed.changes, removed.drainDebt, options.dryRun) };
      }
    },
    apply: async (tx, caller, documents, options) => {
      if (documents.length > MAX_DOCUMENTS) {
        const problem = `are ${documents.length}, and at most ${MAX_DOCUMENTS} are applied at once`;
        throw new RefusedInput([refuse('length', 'documents', problem, 'apply them in parts')]);
      }
      const parsed = parseDocuments(documents);
      const keys = new Set(parsed.map(documentKey));
      const strange = Object.keys(options.versions).filter((key) => !keys.has(key));
      if (strange.length > 0) {
        const refusal = (key: string) =>
          refuse('unknown', `versions.${key}`, 'is of no document here', 'write Kind/name of one of them');
        throw new RefusedInput(strange.map(refusal));
      }
      const wanted = parsed.map((document, i): Wanted => {
        const ifVersion = demanded(options.versions[documentKey(document)]);
        return { document, field: `documents.${i}`, ...(ifVersion === undefined ? {} : { ifVersion }) };
      });
      await holdProviders(providers, caller.identity.tenant, wanted);
      const applied = await applyDocuments(tx, requesterOf(caller), wanted, { dryRun: options.dryRun });
      if (applied.kind === 'stale') return { kind: 'stale', key: applied.key, version: versionText(applied.version) };
      return { kind: 'done', view: appliedView(applied.changes, applied.drainDebt, options.dryRun) };
    },
  };
}

/** A version that cannot be one of ours is stale, not a fault: −1 equals none. '' and 0: there must be nothing yet. */
export function demanded(ifVersion: string | undefined): bigint | undefined {
  if (ifVersion === undefined) return undefined;
  if (ifVersion === '' || ifVersion === '0') return 0n;
  return /^[1-9][0-9]{0,17}$/.test(ifVersion) ? BigInt(ifVersion) : -1n;
}

export function versionText(version: bigint): string {
  return version === 0n ? '' : String(version);
}

/** Throws RefusedInput. Before the tenant's lock is taken: a package may take its time to load. */
async function holdProviders(providers: Providers, tenant: string, wanted: readonly Wanted[]): Promise<void> {
  const found = await Promise.all(
    wanted.map(async ({ document, field }) => {
      if (document.kind !== 'Pool') return [];
      const refusals = await providers.refusals(tenant, document.provider);
      return field === undefined ? refusals : refusals.map((one) => ({ ...one, field: `${field}.${one.field}` }));
    }),
  );
  const refusals = found.flat();
  if (refusals.length > 0) throw new RefusedInput(refusals);
}

async function put(
  providers: Providers,
  tx: Tx,
  caller: Caller,
  value: unknown,
  expected: { readonly field: string; readonly name: string } | undefined,
  options: { readonly ifVersion: string | undefined; readonly dryRun: boolean },
): ReturnType<DocumentsService['put']> {
  const document = parseDocument(value);
  if (expected !== undefined && pathName(document) !== expected.name) {
    const problem = `is not the ${expected.field} in the path`;
    throw new RefusedInput([refuse('name', expected.field, problem, 'make them the same')]);
  }
  const ifVersion = demanded(options.ifVersion);
  const wanted = [{ document, ...(ifVersion === undefined ? {} : { ifVersion }) }];
  await holdProviders(providers, caller.identity.tenant, wanted);
  const applied = await applyDocuments(tx, requesterOf(caller), wanted, { dryRun: options.dryRun });
  if (applied.kind === 'stale') return { kind: 'stale', version: versionText(applied.version) };
  const [change] = applied.changes;
  // A division always has a budget: of nothing, until it is set.
  const isNew = change?.change === 'created' && document.kind !== 'Budget';
  const outcome = isNew ? 'created' : change?.change === 'unchanged' ? 'unchanged' : 'replaced';
  const version = versionText(change?.version ?? 0n);
  if (options.dryRun)
    return { kind: 'unchanged', version, view: appliedView(applied.changes, applied.drainDebt, true) };
  const view = { ...documentView(document, change?.version ?? 0n), drainDebt: applied.drainDebt.map(debtView) };
  return { kind: outcome, version, view };
}

/** What a document is found by in a path. */
function pathName(document: Document): string {
  return document.kind === 'Budget' ? document.division : documentName(document);
}

async function get(tx: Tx, caller: Caller, kind: StoredKind, name: string): Promise<Versioned | undefined> {
  const { tenant } = caller.identity;
  const [row] = await tx.query<{ file: Document; version: bigint }>(
    'select file, version from quota_documents where tenant = $1 and kind = $2 and name = $3',
    [tenant, kind, name],
  );
  if (row === undefined) {
    if (kind !== 'Division' || !(await divisionNames(tx, tenant)).includes(name)) return undefined;
    return { version: '0', view: documentView(bareDivision(name), 0n) };
  }
  const view = documentView(row.file, row.version);
  const [more] = row.file.kind === 'Budget' ? await spending(tx, tenant, [row.file.division]) : [];
  return { version: String(row.version), view: { ...view, ...more?.view } };
}

/** A division that a pool or a budget brought about has no document until it is given one. */
function bareDivision(name: string): Document {
  return { apiVersion: 'merit/v1', kind: 'Division', name };
}

async function list(tx: Tx, caller: Caller, kind: StoredKind, page: Page): Promise<Rows> {
  const { tenant } = caller.identity;
  const rows = await tx.query<{ name: string; file: Document | null; version: bigint | null }>(
    `select coalesce(d.name, v.division) as name, d.file, d.version
     from (select name, file, version from quota_documents where tenant = $1 and kind = $2) d
     full join (select division from divisions where tenant = $1 and $2 = 'Division' and not removed) v on v.division = d.name
     where coalesce(d.name, v.division) > $3 collate "C" order by coalesce(d.name, v.division) collate "C" limit $4`,
    [tenant, kind, page.after ?? '', page.limit],
  );
  const spent = kind === 'Budget' ? await spending(tx, tenant, null) : [];
  const byBudget = new Map(spent.map((one) => [one.name, one.view]));
  const items = rows.map(({ name, file, version }) => ({
    ...documentView(file ?? bareDivision(name), version ?? 0n),
    ...byBudget.get(name),
  }));
  return { items, last: rows.length === page.limit ? rows.at(-1)?.name : undefined };
}

/** What budgets hold, have spent in their period, and have left. */
async function spending(
  tx: Tx,
  tenant: string,
  divisions: readonly string[] | null,
): Promise<readonly { readonly name: string; readonly view: View }[]> {
  const rows = await tx.query<{
    name: string;
    used: bigint;
    held: bigint;
    net_limit: bigint | null;
    before: bigint;
    drain_debt: bigint;
  }>(
    `select a.division || '-' || a.unit as name, a.net_limit, a.drain_debt, a.debits_pending as held,
            (a.debits_posted - a.credits_posted)::bigint as used, coalesce(p.spent_before_cents, 0) as before
     from accounts a left join budget_periods p on p.tenant = a.tenant and p.division = a.division and p.currency = a.unit
     where a.tenant = $1 and a.kind = 'budget' and ($2::text[] is null or a.division = any($2))`,
    [tenant, divisions],
  );
  return rows.map(({ name, used, held, net_limit, before, drain_debt }) => {
    const left = (net_limit ?? 0n) - used - held;
    return {
      name,
      view: {
        held: moneyText(held),
        spent: moneyText(used - before),
        left: moneyText(left > 0n ? left : 0n),
        drainDebt: moneyText(drain_debt),
      },
    };
  });
}

function documentView(document: Document, version: bigint): View {
  const head = { name: documentName(document), version: String(version) };
  const file = document as unknown as Json;
  switch (document.kind) {
    case 'Group':
      return { ...head, parent: document.parent ?? null, weight: document.weight ?? 1, file };
    case 'Division':
      return {
        ...head,
        group: document.group ?? null,
        weight: document.weight ?? 1,
        queueing: document.queueing ?? 'best-effort',
        file,
      };
    case 'PriorityClass':
      return { ...head, value: document.value, file };
    case 'Budget': {
      const { division, currency, limit, period = null } = document;
      return { ...head, division, currency, limit, period, file };
    }
    case 'Scheduling':
    case 'SigningPolicy':
    case 'Pool':
      return { ...head, file };
  }
}

export function appliedView(
  changes: readonly DocumentChange[],
  drainDebt: readonly DrainDebt[],
  dryRun: boolean,
): View {
  return {
    dryRun,
    changes: changes.map(({ kind, name, change, version, differences }) => ({
      kind,
      name,
      change,
      version: String(version),
      differences: differences.map(({ field, from, to }) => ({
        field,
        from: (from ?? null) as Json,
        to: (to ?? null) as Json,
      })),
    })),
    drainDebt: drainDebt.map(debtView),
  };
}

/** What is used above a lowered limit, and goes with each release. */
export function debtView({ account, kind, division, pool, flavour, unit, amount }: DrainDebt): View {
  const text = kind === 'budget' ? moneyText(amount) : unitsText(amount);
  return { account, kind, division, pool, flavour, unit, amount: text };
}
