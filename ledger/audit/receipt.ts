import { isEnded, type StateName } from '../../core/booking.ts';
import type { Tx } from '../../platform/postgres.ts';
import { transfersOfBooking } from '../quota/stored-transfers.sql.ts';
import { recordOf } from '../quota/transfer.ts';
import { checkpointLine, eventMember } from './bundle.ts';
import { isObject, type JsonObject, lineText } from './lines.ts';
import { readProofs } from './nodes.ts';
import { evidenceNames } from './receipt-evidence.ts';
import { causesOf, evidenceMember, RECEIPT_FORMAT } from './receipt-parts.ts';
import { latestNote } from './sequencer.ts';

/** Events of one receipt: a booking has about ten an attempt, and few causes. */
export const MAX_RECEIPT_EVENTS = 20_000;

export type ReceiptResult =
  | { readonly kind: 'receipt'; readonly text: string }
  | { readonly kind: 'not_found' }
  | { readonly kind: 'not_ended'; readonly state: StateName }
  /** Its last events are not under a signed checkpoint yet: ask again in a second. */
  | { readonly kind: 'not_sealed' }
  | { readonly kind: 'too_large' };

interface EventRow {
  readonly event_id: string;
  readonly seq: bigint | null;
  readonly bytes: Buffer;
}

/**
 * The receipt of a booking that has ended, as the text of its file. Any transaction that sees the booking: a tenant's own is enough,
 * because the proofs are read from the tree's nodes and not from other tenants' events.
 */
export async function buildReceipt(tx: Tx, bookingId: string): Promise<ReceiptResult> {
  const [booking] = await tx.query<{ tenant: string; job_name: string; state: StateName }>(
    'select tenant, job_name, state from bookings where booking_id = $1',
    [bookingId],
  );
  if (booking === undefined) return { kind: 'not_found' };
  if (!isEnded(booking.state)) return { kind: 'not_ended', state: booking.state };
  const checkpoint = await latestNote(tx);
  const rows = await collectEvents(tx, booking.tenant, bookingId);
  if (rows === undefined) return { kind: 'too_large' };
  if (checkpoint === undefined || rows.some(({ row }) => row.seq === null || Number(row.seq) >= checkpoint.treeSize)) {
    return { kind: 'not_sealed' };
  }
  const events = rows.map(({ row }) => ({ seq: Number(row.seq), bytes: row.bytes })).sort((a, b) => a.seq - b.seq);
  const proofs = await readProofs(
    tx,
    events.map((event) => event.seq),
    checkpoint.treeSize,
  );
  const evidence = await readEvidence(tx, booking.tenant, [
    ...new Set(rows.flatMap(({ data }) => [...evidenceNames(data)])),
  ]);
  // By code unit, which is not what a database's collation may say.
  const transfers = (await transfersOfBooking(tx, bookingId)).map(recordOf).sort((a, b) => (a.id < b.id ? -1 : 1));
  const header = {
    type: 'header',
    format: RECEIPT_FORMAT,
    tenant: booking.tenant,
    booking: bookingId,
    job: booking.job_name,
    treeSize: checkpoint.treeSize,
    events: events.length,
    evidence: evidence.length,
    transfers: transfers.length,
  };
  const lines = [
    lineText(header),
    checkpointLine(checkpoint.note),
    ...evidence.map(({ hash, body }) => lineText({ type: 'evidence', hash, ...evidenceMember(body) })),
    ...transfers.map((transfer) => lineText({ type: 'transfer', transfer: { ...transfer } })),
    ...events.map(({ seq, bytes }) => {
      const proof = proofs.get(seq)!.map((hash) => Buffer.from(hash).toString('hex'));
      return lineText({ type: 'event', seq, ...eventMember(bytes), proof });
    }),
  ];
  return { kind: 'receipt', text: lines.join('') };
}

interface Collected {
  readonly row: EventRow;
  readonly data: JsonObject;
}

/** The booking's events, then the events they name as causes, and theirs; undefined: more than a receipt may hold. */
async function collectEvents(tx: Tx, tenant: string, bookingId: string): Promise<readonly Collected[] | undefined> {
  const found = new Map<string, Collected>();
  const take = (rows: readonly EventRow[]) => {
    const causes = new Set<string>();
    for (const row of rows) {
      const data = dataOf(row.bytes);
      found.set(row.event_id, { row, data });
      for (const cause of causesOf(data)) causes.add(cause);
    }
    return [...causes].filter((id) => !found.has(id));
  };
  let causes = take(
    await tx.query<EventRow>(
      `select event_id, seq, bytes from audit_events where tenant = $1 and subject = $2
       order by subject_seq limit ${MAX_RECEIPT_EVENTS + 1}`,
      [tenant, `booking/${bookingId}`],
    ),
  );
  while (causes.length > 0 && found.size <= MAX_RECEIPT_EVENTS) {
    const rows = await tx.query<EventRow>(
      'select event_id, seq, bytes from audit_events where tenant = $1 and event_id = any($2::text[])',
      [tenant, causes],
    );
    causes = take(rows);
  }
  return found.size > MAX_RECEIPT_EVENTS ? undefined : [...found.values()];
}

/** What stored bytes say; bytes that somebody changed say nothing, and the verifier tells it. */
function dataOf(bytes: Uint8Array): JsonObject {
  const { event } = eventMember(bytes);
  return isObject(event) && isObject(event.data) ? event.data : {};
}

async function readEvidence(
  tx: Tx,
  tenant: string,
  hashes: readonly string[],
): Promise<readonly { readonly hash: string; readonly body: Buffer }[]> {
  const kept = await tx.query<{ hash: string; body: Buffer }>(
    'select hash, body from evidence where tenant = $1 and hash = any($2::text[])',
    [tenant, hashes],
  );
  const found = new Map(kept.map((row) => [row.hash, row.body]));
  const manifests = await tx.query<{ sha256: string; bytes: Buffer }>(
    'select sha256, bytes from manifests where tenant = $1 and sha256 = any($2::text[])',
    [tenant, hashes.filter((hash) => !found.has(hash))],
  );
  for (const row of manifests) found.set(row.sha256, row.bytes);
  return [...found].map(([hash, body]) => ({ hash, body })).sort((a, b) => (a.hash < b.hash ? -1 : 1));
}
