import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream, writeFileSync } from 'node:fs';
import { canonicalBytes } from '../../core/canonical.ts';
import { appendLeaves, type CompactRange, EMPTY_RANGE, leafHash, rootOfRange } from '../../core/merkle.ts';
import { auditEventId } from '../../ledger/audit/append.ts';
import { bundleEventLine, bundleHeaderLine, checkpointLine } from '../../ledger/audit/bundle.ts';
import { DEFAULT_ORIGIN, signCheckpoint } from '../../ledger/audit/checkpoint.ts';
import { rootsText } from '../../ledger/audit/roots.ts';
import { CHECKPOINT_EVENTS } from '../../ledger/audit/sequencer.ts';
import { testSigner } from '../support/audit-story.ts';

/** `audit-chain.ts EVENTS CHAIN ROOTS`: a chain as a server exports it, of bookings with ten events each, a checkpoint every 256. */

const [count = '', chain = '', roots = ''] = process.argv.slice(2);
const events = Number(count);
const STEPS = [
  'created',
  'reserved',
  'requesting',
  'confirming',
  'applied',
  'metrics',
  'log',
  'releasing',
  'settled',
  'released',
];
const START_MS = Date.UTC(2026, 0);

const signer = testSigner();
const evidence = (i: number, what: string) => createHash('sha256').update(`${i} ${what}`).digest('hex');

function eventBytes(i: number): Buffer {
  // Bookings live beside each other, 200 at a time.
  const round = Math.floor(i / 2_000);
  const booking = `01k2z${String(round * 200 + (i % 200)).padStart(21, '0')}`;
  const n = Math.floor((i % 2_000) / 200) + 1;
  const subject = `booking/${booking}`;
  return canonicalBytes({
    v: 1,
    id: auditEventId('acme', subject, n),
    tenant: 'acme',
    subject,
    n,
    type: `booking.${STEPS[n - 1]}`,
    at: new Date(START_MS + i * 10).toISOString(),
    actor: 'merit/engine',
    trace: evidence(i, 'trace').slice(0, 32),
    data: {
      attempt: 1,
      evidence: [evidence(i, 'peer')],
      policyVersion: 'v7',
      transfers: [{ id: `${booking}-1-quota`, amount: '2000' }],
    },
  });
}

/** All leaves first: the final checkpoint stands before the events. */
async function main(): Promise<void> {
  let range: CompactRange = EMPTY_RANGE;
  const notes = new Map<number, string>();
  for (let i = 0; i < events; i++) {
    range = appendLeaves(range, [leafHash(eventBytes(i))]).range;
    if (range.size % CHECKPOINT_EVENTS !== 0 && range.size !== events) continue;
    const unsigned = {
      origin: DEFAULT_ORIGIN,
      treeSize: range.size,
      rootHash: rootOfRange(range),
      atMs: START_MS + i * 10,
    };
    notes.set(range.size, await signCheckpoint(signer, unsigned));
  }
  const out = createWriteStream(chain);
  let piece = bundleHeaderLine(DEFAULT_ORIGIN, events, notes.size) + checkpointLine(notes.get(events) ?? '');
  for (let i = 0; i < events; i++) {
    const bytes = eventBytes(i);
    piece += bundleEventLine(i, leafHash(bytes), bytes);
    const note = i + 1 === events ? undefined : notes.get(i + 1);
    if (note !== undefined) piece += checkpointLine(note);
    if (piece.length < 1 << 20 && i + 1 < events) continue;
    if (!out.write(piece)) await once(out, 'drain');
    piece = '';
  }
  out.end();
  await once(out, 'close');
  const { keyId, algorithm, publicKey } = signer;
  writeFileSync(roots, rootsText([{ keyId, algorithm, publicKey, validFromMs: START_MS, validToMs: undefined }]));
}

await main();
