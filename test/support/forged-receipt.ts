import type { AuditEvent } from '../../core/audit-event.ts';
import { canonicalBytes, type Json, sha256Hex } from '../../core/canonical.ts';
import { inclusionProof, leafHash, rootOf } from '../../core/merkle.ts';
import { auditEventId } from '../../ledger/audit/append.ts';
import { checkpointLine } from '../../ledger/audit/bundle.ts';
import { DEFAULT_ORIGIN, signCheckpoint } from '../../ledger/audit/checkpoint.ts';
import { lineText } from '../../ledger/audit/lines.ts';
import { type Verification, verifyFile } from '../../ledger/audit/verify.ts';
import { testSigner } from './audit-story.ts';

type Line = { type: string; event?: AuditEvent; hash?: string; body?: Json };

/** What a lie makes of an event; undefined: there was none. It may change the evidence that the event names, by its hash, and add some. */
export type Lie = (event: AuditEvent, evidence: Map<string, Json>) => AuditEvent | undefined;

const signer = testSigner();

/** What a stranger finds in a receipt that a lying server wrote: every hash, proof and signature of the trail is right, and what it tells is not what happened. */
export async function forged(text: string, lie: Lie): Promise<Verification> {
  const lines = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
  const bodies = new Map(
    lines.flatMap(({ hash, body }) => (hash === undefined ? [] : [[hash, body ?? null] as const])),
  );
  const told = lines.flatMap(({ event }) => {
    const lied = event === undefined ? undefined : lie(event, bodies);
    return event === undefined || lied === undefined ? [] : [{ old: event.id, event: lied }];
  });
  const names = [...bodies].map(([old, body]) => ({ old, hash: sha256Hex(canonicalBytes(body)), body }));
  const ids = told.map(({ old, event: { tenant, subject, n } }) => ({ old, hash: auditEventId(tenant, subject, n) }));
  const events = told.map(({ event }) =>
    [...names, ...ids].reduce((said, { old, hash }) => said.replaceAll(old, hash), JSON.stringify(event)),
  );
  const leaves = events.map((event) => leafHash(canonicalBytes(JSON.parse(event) as Json)));
  const evidence = [...new Map(names.map(({ hash, body }) => [hash, body]))]
    .filter(([hash]) => events.some((event) => event.includes(hash)))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const counts = { treeSize: leaves.length, events: events.length, evidence: evidence.length };
  const checkpoint = { origin: DEFAULT_ORIGIN, treeSize: leaves.length, rootHash: rootOf(leaves), atMs: Date.now() };
  const file = [
    lineText({ ...(lines[0] as unknown as { [key: string]: Json }), ...counts }),
    checkpointLine(await signCheckpoint(signer, checkpoint)),
    ...evidence.map(([hash, body]) => lineText({ type: 'evidence', hash, body })),
    ...lines
      .filter(({ type }) => type === 'transfer')
      .map((line) => lineText(line as unknown as { [key: string]: Json })),
    ...events.map((event, seq) => {
      const proof = inclusionProof(leaves, seq).map((hash) => Buffer.from(hash).toString('hex'));
      return lineText({ type: 'event', seq, event: JSON.parse(event) as Json, proof });
    }),
  ];
  const { keyId, algorithm, publicKey } = signer;
  const key = { keyId, algorithm, publicKey, validFromMs: 0, validToMs: undefined };
  return verifyFile(Buffer.from(file.join('')), { keys: new Map([[keyId, key]]) });
}

/** Names one more piece of evidence. */
export function withEvidence(event: AuditEvent, evidence: Map<string, Json>, body: Json): AuditEvent {
  const hash = sha256Hex(canonicalBytes(body));
  evidence.set(hash, body);
  return { ...event, data: { ...event.data, evidence: [...((event.data.evidence ?? []) as readonly Json[]), hash] } };
}
