import { checkpointLine } from '../../ledger/audit/bundle.ts';
import { signCheckpoint } from '../../ledger/audit/checkpoint.ts';
import { buildReceipt } from '../../ledger/audit/receipt.ts';
import { awaitSealed, latestNote } from '../../ledger/audit/sequencer.ts';
import { type Verification, verifyFile } from '../../ledger/audit/verify.ts';
import { systemClock } from '../../platform/clock.ts';
import type { Database } from '../../platform/postgres.ts';
import { testSigner } from './audit-story.ts';

const signer = testSigner();

/** The receipt of a booking that has ended, with its checkpoint signed again by a key that tests have, and what verifying it tells. */
export async function verifiedReceipt(
  db: Database,
  tenant: string,
  bookingId: string,
): Promise<{ readonly text: string; readonly result: Verification }> {
  if (!(await awaitSealed(db, systemClock, AbortSignal.timeout(20_000)))) throw new Error('the trail is not sealed');
  const { built, checkpoint } = await db.asTenant(tenant, async (tx) => ({
    checkpoint: await latestNote(tx),
    built: await buildReceipt(tx, bookingId),
  }));
  if (built.kind !== 'receipt' || checkpoint === undefined) throw new Error(built.kind);
  const lines = built.text.split(/(?<=\n)/);
  const text = lines.with(1, checkpointLine(await signCheckpoint(signer, checkpoint))).join('');
  const { keyId, algorithm, publicKey } = signer;
  const key = { keyId, algorithm, publicKey, validFromMs: 0, validToMs: undefined };
  return { text, result: verifyFile(Buffer.from(text), { keys: new Map([[keyId, key]]) }) };
}
