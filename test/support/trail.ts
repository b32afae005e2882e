import { appendAudits, type NewAuditEvent } from '../../ledger/audit/append.ts';
import { CHECKPOINT_INTERVAL_MS, sequenceOnce } from '../../ledger/audit/sequencer.ts';
import { openSigningKeys, type SigningKeys } from '../../ledger/audit/signing-keys.ts';
import { type Clock, systemClock } from '../../platform/clock.ts';
import type { Signer } from '../../platform/signer.ts';
import { TENANT, testSigner } from './audit-story.ts';
import { type TestDatabase, testDatabase } from './db.ts';

/** Of every event, so that the same writing makes the same trail. */
const AT = '2026-11-23T10:00:00.000Z';

/** A trail in a database of its own, sealed by hand. */
export interface Trail {
  readonly own: TestDatabase;
  readonly db: TestDatabase['db'];
  readonly keys: SigningKeys;
  readonly clock: Clock;
  /** Writes that many events, not sealed. */
  write(count?: number): Promise<void>;
  /** Writes and seals them under one checkpoint. */
  seal(count?: number): Promise<void>;
}

/** The clock begins at this moment and is moved by sealing. `word` tells trails apart: another one makes other events. */
export async function newTrail(signer: Signer = testSigner(), word = 'a'): Promise<Trail> {
  const own = await testDatabase();
  const { db } = own;
  await db.asEngine((tx) => tx.execute('insert into tenants (tenant) values ($1)', [TENANT]));
  const keys = await openSigningKeys(db, signer, undefined);
  let now = Date.now();
  const clock: Clock = { now: () => now, sleep: (ms) => systemClock.sleep(Math.min(ms, 1)) };
  let written = 0;
  const write = async (count = 3) => {
    const events = Array.from({ length: count }, (): NewAuditEvent => {
      const data = { i: written++, word };
      return { tenant: TENANT, subject: 'pool/a', type: 'pool.changed', at: AT, actor: 'test', trace: '', data };
    });
    await db.asEngine((tx) => appendAudits(tx, events));
  };
  return {
    own,
    db,
    keys,
    clock,
    write,
    seal: async (count = 3) => {
      await write(count);
      now += CHECKPOINT_INTERVAL_MS;
      await sequenceOnce(db, 0n, keys.signer, clock, { keys });
    },
  };
}
