import { canonicalText, type Json } from '../core/canonical.ts';
import { appendAudit } from '../ledger/audit/append.ts';
import type { Tx } from '../platform/postgres.ts';
import { type Document, type DocumentKind, documentName } from './documents.ts';
import { cents, type PoolFile } from './pool-file.ts';

export interface Actor {
  readonly tenant: string;
  readonly actor: string;
  readonly traceId: string;
  readonly nowMs: number;
}

/** A document as stored, and its version: never one that a document of this name had before. */
export interface Stored {
  readonly document: Document;
  readonly version: bigint;
}

/** One change of a tenant's documents at a time: what they say of each other is judged of all at once. Held to the transaction's end. */
export async function lockDocuments(tx: Tx, tenant: string): Promise<void> {
  await tx.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`merit documents ${tenant}`]);
}

/** All documents of a tenant by kind and name. */
export async function storedDocuments(tx: Tx, tenant: string): Promise<readonly Stored[]> {
  const pools = await tx.query<{ file: Document; version: bigint }>(
    'select file, version from pools where tenant = $1 order by pool collate "C"',
    [tenant],
  );
  const others = await tx.query<{ file: Document; version: bigint }>(
    'select file, version from quota_documents where tenant = $1 order by kind, name collate "C"',
    [tenant],
  );
  return [...pools, ...others].map(({ file, version }) => ({ document: file, version }));
}

/** Those that live, with a document or without. */
export async function divisionNames(tx: Tx, tenant: string): Promise<readonly string[]> {
  const rows = await tx.query<{ division: string }>(
    'select division from divisions where tenant = $1 and not removed order by division collate "C"',
    [tenant],
  );
  return rows.map((row) => row.division);
}

/** Writes a document, and what other tables keep of it; the new version. Limits of accounts are settled apart. */
export async function writeDocument(tx: Tx, tenant: string, document: Document): Promise<bigint> {
  switch (document.kind) {
    case 'Pool':
      return writePool(tx, tenant, document);
    case 'Division':
      await addDivisions(tx, tenant, [document.name]);
      break;
    case 'Budget':
      await addDivisions(tx, tenant, [document.division]);
      break;
    case 'Group':
    case 'PriorityClass':
    case 'Scheduling':
    case 'SigningPolicy':
      break;
  }
  const rows = await tx.query<{ version: bigint }>(
    `insert into quota_documents (tenant, kind, name, file) values ($1, $2, $3, $4)
     on conflict (tenant, kind, name) do update set file = excluded.file, version = excluded.version returning version`,
    [tenant, document.kind, documentName(document), canonicalText(document)],
  );
  return rows[0]?.version ?? 0n;
}

export async function deleteDocument(tx: Tx, tenant: string, kind: DocumentKind, name: string): Promise<void> {
  await tx.execute('delete from quota_documents where tenant = $1 and kind = $2 and name = $3', [tenant, kind, name]);
}

async function writePool(tx: Tx, tenant: string, file: PoolFile): Promise<bigint> {
  const rows = await tx.query<{ version: bigint }>(
    `insert into pools (tenant, pool, provider, file) values ($1, $2, $3, $4)
     on conflict (tenant, pool) do update set provider = excluded.provider, file = excluded.file, version = pools.version + 1
     returning version`,
    [tenant, file.name, file.provider.kind, canonicalText(file)],
  );
  await addDivisions(tx, tenant, Object.keys(file.quotas));
  // A flavour that is no longer in the file keeps its row and its balances, with no capacity left to give.
  await tx.execute(
    'update flavours set capacity_milli = 0 where tenant = $1 and pool = $2 and not (flavour = any($3::text[]))',
    [tenant, file.name, file.flavours.map((flavour) => flavour.name)],
  );
  for (const [position, flavour] of file.flavours.entries()) {
    await tx.execute(
      `insert into flavours (tenant, pool, flavour, position, resource, capacity_milli, spot, currency, cents_per_unit_hour)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
       on conflict (tenant, pool, flavour) do update set position = excluded.position, resource = excluded.resource,
         capacity_milli = excluded.capacity_milli, spot = excluded.spot, currency = excluded.currency, cents_per_unit_hour = excluded.cents_per_unit_hour`,
      [
        tenant,
        file.name,
        flavour.name,
        position,
        flavour.resource,
        BigInt(flavour.capacity) * 1000n,
        flavour.spot ?? false,
        flavour.price.currency,
        cents(flavour.price.perUnitHour),
      ],
    );
  }
  return rows[0]?.version ?? 0n;
}

/** One that had been removed lives again. */
async function addDivisions(tx: Tx, tenant: string, divisions: readonly string[]): Promise<void> {
  await tx.execute(
    `insert into divisions (tenant, division) select $1, name from unnest($2::text[]) as d (name)
     on conflict (tenant, division) do update set removed = false where divisions.removed`,
    [tenant, [...divisions].sort()],
  );
}

/** What audit events call a kind of document. */
const SUBJECTS: Readonly<Record<DocumentKind, string>> = {
  Pool: 'pool',
  Group: 'group',
  Division: 'division',
  PriorityClass: 'priority-class',
  Budget: 'budget',
  Scheduling: 'scheduling',
  SigningPolicy: 'signing-policy',
};

/** The event that removed the one of this name, as the cause of the one that is declared after it; nothing: there was none. The caller holds `lockDocuments`. */
export async function removalBefore(
  tx: Tx,
  tenant: string,
  of: { readonly kind: DocumentKind; readonly name: string },
): Promise<{ readonly causes?: readonly string[] }> {
  const subject = SUBJECTS[of.kind];
  const [last] = await tx.query<{ event_id: string; type: string }>(
    'select event_id, type from audit_events where tenant = $1 and subject = $2 order by subject_seq desc limit 1',
    [tenant, `${subject}/${of.name}`],
  );
  return last?.type === `${subject.replace('-', '_')}.removed` ? { causes: [last.event_id] } : {};
}

/** An event about a document, in the transaction that changes it; the caller holds `lockDocuments`. */
export async function tellDocument(
  tx: Tx,
  by: Actor,
  of: { readonly kind: DocumentKind; readonly name: string },
  what: 'created' | 'changed' | 'removed' | 'cordoned' | 'uncordoned' | 'draining' | 'period_began' | 'alert',
  data: Readonly<Record<string, Json>>,
): Promise<void> {
  const subject = SUBJECTS[of.kind];
  await appendAudit(tx, {
    tenant: by.tenant,
    subject: `${subject}/${of.name}`,
    type: `${subject.replace('-', '_')}.${what}`,
    at: new Date(by.nowMs).toISOString(),
    actor: by.actor,
    trace: by.traceId,
    data,
  });
}
