import { afterEach, describe, expect, test } from 'vitest';
import { OperatingError } from '../../core/operating-error.ts';
import { appendAudits, type NewAuditEvent } from '../../ledger/audit/append.ts';
import { stateReader } from '../../ledger/audit/coverage.ts';
import { awaitRecorded, exportBundle } from '../../ledger/audit/export.ts';
import { exportState } from '../../ledger/audit/export-state.ts';
import { noteFirstKey, trailRoots } from '../../ledger/audit/key-history.sql.ts';
import { type JsonObject, lineText } from '../../ledger/audit/lines.ts';
import { SEQUENCE_BATCH, sequenceOnce, trailAgeMs } from '../../ledger/audit/sequencer.ts';
import { openSigningKeys } from '../../ledger/audit/signing-keys.ts';
import { fileVerifier, verifyFile } from '../../ledger/audit/verify.ts';
import { systemClock } from '../../platform/clock.ts';
import type { Database, Tx } from '../../platform/postgres.ts';
import type { Signer } from '../../platform/signer.ts';
import { MAX_UNSEALED_MS } from '../../scheduler/apply/limits.ts';
import { TENANT, testSigner } from '../support/audit-story.ts';
import { testDatabase } from '../support/db.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';
import { isWhole } from '../support/rotating.ts';
import { type SagaWorld, sagaWorld } from '../support/saga-world.ts';

/** A signer that can be taken away. */
function fickle(signer: Signer): Signer & { away: boolean } {
  const state = {
    ...signer,
    away: false,
    sign: (bytes: Uint8Array) =>
      state.away ? Promise.reject(new OperatingError('timeout', 'safe', 'signing')) : signer.sign(bytes),
  };
  return state;
}

let world: SagaWorld | undefined;
afterEach(async () => {
  await world?.close();
  world = undefined;
});

describe('while the signer is away', () => {
  test('nothing comes to be applied, and all of it does when it is back', async () => {
    let signer: ReturnType<typeof fickle> | undefined;
    world = await sagaWorld(8, (one) => {
      signer = fickle(one);
      return signer;
    });
    const { db } = world.database;
    await noteFirstKey(db, signer!);
    const age = () => db.asEngine((tx) => trailAgeMs(tx));
    signer!.away = true;
    const ids = [await world.book()];
    // The oldest event has to be older than may be; what is reserved until then waits for it.
    await expect.poll(age, { timeout: 30_000 }).toBeGreaterThan(MAX_UNSEALED_MS);
    for (let i = 0; i < 5; i++) ids.push(await world.book());
    const allocator = await world.startAllocator();
    try {
      for (const id of ids) await world.until(id, ({ state }) => state.state === 'confirming');
      await systemClock.sleep(1_000);
      for (const id of ids) {
        expect((await world.get(id)).state.state).toBe('confirming');
        expect(await world.eventTypes(id)).not.toContain('booking.applied');
      }
      signer!.away = false;
      for (const id of ids)
        await world.until(id, ({ state }) => state.state === 'applied' || state.state === 'released');
      for (const id of ids) expect(await world.eventTypes(id)).toContain('booking.applied');
    } finally {
      await allocator.stop();
    }
    expect(await ledgerLeaks(db)).toEqual([]);
    await covers(world, ids[0]!);
  });
});

/** A state that was exported first is covered by the chain that was exported then, and by no other. */
async function covers({ database: { db } }: SagaWorld, id: string): Promise<void> {
  const lines = await Array.fromAsync(exportState(db, 'x'));
  expect(await awaitRecorded(db)).toBe(true);
  const chain = Buffer.from((await Array.fromAsync(exportBundle(db))).join(''));
  const roots = await db.asEngine(trailRoots);
  const check = (state: readonly string[]) => {
    const reader = stateReader();
    for (const line of state) expect(reader.push(JSON.parse(line))).toBeUndefined();
    return verifyFile(chain, roots, { coverage: reader.end() });
  };
  expect(check(lines)).toMatchObject({ code: 0, findings: [] });
  const at = lines.findIndex((line) => line.includes(id));
  const row = JSON.parse(lines[at]!) as { state: string; version: number };
  const changed = (over: object) => lines.with(at, lineText({ ...row, ...over } as JsonObject));
  expect(check(changed({ state: 'failed' }))).toMatchObject({ code: 10 });
  expect(check(changed({ version: row.version + 1 }))).toMatchObject({ code: 11 });
}

describe('ten minutes without a signer, at full load', { timeout: 1_200_000 }, () => {
  // Of virtual time; whole, 250 events a second.
  const tries = isWhole ? 300 : 60;
  const perTry = isWhole ? 500 : 100;
  const OUTAGE_MS = 600_000;
  /** Over so many subjects, each written by one transaction at a time. */
  const SUBJECTS = 50;

  test('the trail is older by that, no step holds more than a batch, and all is sealed in the order of recording', async () => {
    const own = await testDatabase();
    try {
      const { db } = own;
      await db.asEngine((tx) => tx.execute('insert into tenants (tenant) values ($1)', [TENANT]));
      const signer = fickle(testSigner());
      const keys = await openSigningKeys(db, signer, undefined);
      let now = Date.now();
      const clock = { now: () => now, sleep: async () => {} };
      let most = 0;
      const counted = countingRows(db, (rows) => {
        most = Math.max(most, rows);
      });
      const once = () => sequenceOnce(counted, 0n, keys.signer, clock, { keys });
      const load = async (round: number) => {
        const events = Array.from({ length: perTry }, (_, i): NewAuditEvent => {
          const subject = `pool/${i % SUBJECTS}`;
          const at = new Date(now).toISOString();
          return { tenant: TENANT, subject, type: 'pool.changed', at, actor: 'test', trace: '', data: { round, i } };
        });
        await db.asEngine((tx) => appendAudits(tx, events));
      };

      await load(0);
      await once();
      signer.away = true;
      let failures = 0;
      for (let round = 1; round <= tries; round++) {
        await load(round);
        now += OUTAGE_MS / tries;
        await once().catch((error: unknown) => {
          expect(error).toMatchObject({ code: 'timeout' });
          failures++;
        });
      }
      expect(failures).toBe(tries);
      const ageMs = await db.asEngine((tx) => trailAgeMs(tx, now));
      expect(ageMs).toBeGreaterThan(OUTAGE_MS * 0.9);
      const sealed = () => db.asEngine((tx) => tx.query('select tree_size from audit_checkpoints'));
      expect(await sealed()).toHaveLength(1);

      signer.away = false;
      let steps = 0;
      do steps++;
      while ((await once()).more);
      expect(steps).toBeLessThanOrEqual(Math.ceil((perTry * tries) / SEQUENCE_BATCH) + 1);
      expect(await db.asEngine((tx) => trailAgeMs(tx, now))).toBe(0);
      expect(most).toBeLessThanOrEqual(SEQUENCE_BATCH);

      const order = await db.asEngine((tx) =>
        tx.query<{ n: bigint }>(
          `select count(*) as n from (select seq, row_number() over (order by recorded_no) - 1 as wanted from audit_events) e
           where seq is distinct from wanted`,
        ),
      );
      expect(Number(order[0]!.n)).toBe(0);
      const roots = await db.asEngine(trailRoots);
      const verifier = fileVerifier(roots);
      for await (const line of exportBundle(db)) verifier.push(Buffer.from(line));
      expect(verifier.end()).toMatchObject({ code: 0, summary: { events: perTry * (tries + 1) } });
    } finally {
      await own.close();
    }
  });
});

/** Tells how many rows each answer had that came to this process. */
function countingRows(db: Database, tell: (rows: number) => void): Database {
  const counting = <T extends Tx>(tx: T): T => ({
    ...tx,
    query: async (sql: string, values?: readonly unknown[]) => {
      const rows = await tx.query(sql, values);
      tell(rows.length);
      return rows;
    },
    execute: (sql: string, values?: readonly unknown[]) => tx.execute(sql, values),
  });
  return {
    ...db,
    asEngine: (work) => db.asEngine((tx) => work(counting(tx))),
    asLeader: (epoch, work) => db.asLeader(epoch, (tx) => work(counting(tx))),
  };
}
