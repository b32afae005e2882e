import type { AuditEvent } from '../../core/audit-event.ts';
import { canonicalBytes, sha256Hex } from '../../core/canonical.ts';
import { inclusionProof, leafHash, rootOf } from '../../core/merkle.ts';
import { auditEventId, type NewAuditEvent } from '../../ledger/audit/append.ts';
import { bundleEventLine, bundleHeaderLine, checkpointLine } from '../../ledger/audit/bundle.ts';
import { DEFAULT_ORIGIN, signCheckpoint } from '../../ledger/audit/checkpoint.ts';
import { lineText } from '../../ledger/audit/lines.ts';
import { evidenceMember, RECEIPT_FORMAT } from '../../ledger/audit/receipt-parts.ts';
import type { Signer } from '../../platform/signer.ts';
import { BOOKING, STORY_START_MS, type Story, TENANT } from './audit-story.ts';

export const SEALED_AT_MS = STORY_START_MS + 60_000;

/** Events with their ids and numbers, as appendAudit gives them. */
export function numbered(events: readonly NewAuditEvent[]): readonly AuditEvent[] {
  const last = new Map<string, number>();
  return events.map((event) => {
    const n = (last.get(`${event.tenant} ${event.subject}`) ?? 0) + 1;
    last.set(`${event.tenant} ${event.subject}`, n);
    return { v: 1, id: auditEventId(event.tenant, event.subject, n), n, ...event };
  });
}

/** Events of others between those of the story, so that proofs have something to prove. */
function withOthers(events: readonly NewAuditEvent[]): readonly NewAuditEvent[] {
  return events.flatMap((event, i) => {
    const other = {
      ...event,
      tenant: i % 2 === 0 ? 'globex' : TENANT,
      subject: 'pool/other',
      type: 'pool.changed',
      data: { i },
    };
    return [event, other];
  });
}

/** The bundle of a story, with a checkpoint every `every` events and a last one. */
export async function bundleFile(story: Story, signer: Signer, every = 8): Promise<string> {
  const events = numbered(withOthers(story.events)).map((event) => canonicalBytes(event));
  const leaves = events.map((bytes) => leafHash(bytes));
  const note = (treeSize: number) =>
    signCheckpoint(signer, {
      origin: DEFAULT_ORIGIN,
      treeSize,
      rootHash: rootOf(leaves.slice(0, treeSize)),
      atMs: SEALED_AT_MS,
    });
  const lines: string[] = [];
  let checkpoints = 1;
  for (const [seq, bytes] of events.entries()) {
    lines.push(bundleEventLine(seq, leaves[seq]!, bytes));
    if ((seq + 1) % every !== 0 || seq + 1 === events.length) continue;
    lines.push(checkpointLine(await note(seq + 1)));
    checkpoints++;
  }
  return [
    bundleHeaderLine(DEFAULT_ORIGIN, events.length, checkpoints),
    checkpointLine(await note(events.length)),
    ...lines,
  ].join('');
}

/** The receipt of a story, as buildReceipt writes it. */
export async function receiptFile(story: Story, signer: Signer): Promise<string> {
  const events = numbered(withOthers(story.events));
  const leaves = events.map((event) => leafHash(canonicalBytes(event)));
  const note = await signCheckpoint(signer, {
    origin: DEFAULT_ORIGIN,
    treeSize: leaves.length,
    rootHash: rootOf(leaves),
    atMs: SEALED_AT_MS,
  });
  const own = [...events.entries()].filter(([, event]) => event.subject !== 'pool/other');
  const evidence = [
    ...new Map(story.evidence.map((body) => [sha256Hex(canonicalBytes(body)), canonicalBytes(body)])),
  ].sort(([a], [b]) => (a < b ? -1 : 1));
  const transfers = [...story.transfers].sort((a, b) => (a.id < b.id ? -1 : 1));
  return [
    lineText({
      type: 'header',
      format: RECEIPT_FORMAT,
      tenant: TENANT,
      booking: BOOKING,
      job: 'retrain-digits',
      treeSize: leaves.length,
      events: own.length,
      evidence: evidence.length,
      transfers: transfers.length,
    }),
    checkpointLine(note),
    ...evidence.map(([hash, bytes]) => lineText({ type: 'evidence', hash, ...evidenceMember(bytes) })),
    ...transfers.map((transfer) => lineText({ type: 'transfer', transfer: { ...transfer } })),
    ...own.map(([seq, event]) =>
      lineText({
        type: 'event',
        seq,
        event: { ...event },
        proof: inclusionProof(leaves, seq).map((hash) => Buffer.from(hash).toString('hex')),
      }),
    ),
  ].join('');
}
