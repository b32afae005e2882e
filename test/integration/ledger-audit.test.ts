import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { canonicalBytes, type Json } from '../../core/canonical.ts';
import { leafHash, rootOf, sameHash } from '../../core/merkle.ts';
import { appendAudit, appendAudits, type NewAuditEvent } from '../../ledger/audit/append.ts';
import { parseNote, verifyNote } from '../../ledger/audit/checkpoint.ts';
import { putEvidence } from '../../ledger/audit/evidence.ts';
import { exportBundle } from '../../ledger/audit/export.ts';
import { buildReceipt } from '../../ledger/audit/receipt.ts';
import {
  awaitSealed,
  CHECKPOINT_EVENTS,
  CHECKPOINT_INTERVAL_MS,
  latestNote,
  runSequencer,
  SEQUENCE_BATCH,
  sequenceOnce,
  trailAgeMs,
} from '../../ledger/audit/sequencer.ts';
import { verifyFile } from '../../ledger/audit/verify.ts';
import { ensureAccounts, placementAccounts } from '../../ledger/quota/account.ts';
import { executeLinked } from '../../ledger/quota/execute.sql.ts';
import type { TransferRecord, TransferRequest } from '../../ledger/quota/transfer.ts';
import { type Clock, systemClock } from '../../platform/clock.ts';
import { StaleLeader } from '../../platform/postgres.ts';
import {
  BOOKING,
  retrainStory,
  rootsOf,
  STORY_START_MS,
  type Story,
  TENANT,
  testSigner,
} from '../support/audit-story.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';

const signer = testSigner();
const roots = rootsOf(signer);
/** A day inside the window of the test roots, moved by hand. */
function handClock(nowMs = STORY_START_MS): Clock & { add(ms: number): void } {
  let now = nowMs;
  return { now: () => now, add: (ms) => (now += ms), sleep: (ms) => systemClock.sleep(Math.min(ms, 1)) };
}
const event = (subject: string, i: number, tenant = TENANT): NewAuditEvent => ({
  tenant,
  subject,
  type: 'pool.changed',
  at: new Date(STORY_START_MS).toISOString(),
  actor: 'merit/test',
  trace: '0'.repeat(32),
  data: { i },
});
async function bundleOf(own: TestDatabase): Promise<string> {
  return (await Array.fromAsync(exportBundle(own.db))).join('');
}
async function withDatabase(work: (own: TestDatabase) => Promise<void>): Promise<void> {
  const own = await testDatabase();
  try {
    await own.db.asEngine((tx) => tx.execute("insert into tenants (tenant) values ('acme'), ('globex')"));
    await work(own);
    expect(await ledgerLeaks(own.db)).toEqual([]);
  } finally {
    await own.close();
  }
}

describe('appending and sequencing', () => {
  test('events of a subject are numbered without gap, a rolled-back one leaves none', () =>
    withDatabase(async ({ db }) => {
      expect((await db.asTenant(TENANT, (tx) => appendAudit(tx, event('pool/a', 1)))).n).toBe(1);
      const undone = db.asTenant(TENANT, async (tx) => {
        await appendAudit(tx, event('pool/a', 2));
        throw new Error('undone');
      });
      await expect(undone).rejects.toThrow('undone');
      const many = await db.asTenant(TENANT, (tx) =>
        appendAudits(tx, [event('pool/a', 3), event('pool/b', 4), event('pool/a', 5)]),
      );
      expect(many.map(({ n }) => n)).toEqual([2, 1, 3]);
    }));

  test('two writers of a subject without its lock: one is refused, none is lost silently', () =>
    withDatabase(async ({ db }) => {
      const results = await Promise.allSettled(
        Array.from({ length: 6 }, (_, i) => db.asTenant(TENANT, (tx) => appendAudit(tx, event('pool/a', i)))),
      );
      const written = results.filter((result) => result.status === 'fulfilled').length;
      const rows = await db.asEngine((tx) => tx.query<{ n: bigint }>('select count(*) as n from audit_events'));
      expect(Number(rows[0]!.n)).toBe(written);
      for (const result of results)
        if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: '23505' });
    }));

  test('a signed checkpoint comes at 256 new events, or after a second for any, and seals exactly the leaves', () =>
    withDatabase(async ({ db }) => {
      const clock = handClock();
      const once = () => sequenceOnce(db, 0n, signer, clock);
      expect(await once()).toMatchObject({ sequenced: 0, checkpoint: undefined });
      await db.asEngine((tx) => appendAudit(tx, event('pool/a', 0)));
      expect(await once()).toMatchObject({ sequenced: 1, checkpoint: { treeSize: 1 } });
      await db.asEngine((tx) => appendAudit(tx, event('pool/a', 1)));
      expect(await once()).toMatchObject({ sequenced: 1, checkpoint: undefined });
      clock.add(CHECKPOINT_INTERVAL_MS);
      expect(await once()).toMatchObject({ sequenced: 0, checkpoint: { treeSize: 2 } });
      await db.asEngine((tx) =>
        appendAudits(
          tx,
          Array.from({ length: CHECKPOINT_EVENTS }, (_, i) => event('pool/a', i)),
        ),
      );
      expect(await once()).toMatchObject({ checkpoint: { treeSize: 2 + CHECKPOINT_EVENTS } });
      const last = await db.asTenant(TENANT, latestNote);
      expect(verifyNote(last!.note, roots).ok).toBe(true);
      const rows = await db.asEngine((tx) =>
        tx.query<{ bytes: Buffer }>('select bytes from audit_events order by seq'),
      );
      expect(sameHash(last!.rootHash, rootOf(rows.map((row) => leafHash(row.bytes))))).toBe(true);
    }));

  test('a checkpoint comes as often as it is asked to', () =>
    withDatabase(async ({ db }) => {
      const clock = handClock();
      const once = () => sequenceOnce(db, 0n, signer, clock, { checkpointEveryMs: 3_000 });
      await db.asEngine((tx) => appendAudit(tx, event('pool/a', 0)));
      await once();
      await db.asEngine((tx) => appendAudit(tx, event('pool/a', 1)));
      clock.add(2_999);
      expect(await once()).toMatchObject({ checkpoint: undefined });
      clock.add(1);
      expect(await once()).toMatchObject({ checkpoint: { treeSize: 2 } });
    }));

  test('events written at once by many are sequenced in the order of recording, without a gap', () =>
    withDatabase(async ({ db }) => {
      const clock = handClock();
      await Promise.all(
        Array.from({ length: 40 }, (_, i) =>
          db.asTenant(TENANT, async (tx) => {
            await appendAudit(tx, event(`pool/p${i}`, 1));
            await appendAudit(tx, event(`pool/p${i}`, 2));
          }),
        ),
      );
      await sequenceOnce(db, 0n, signer, clock);
      const rows = await db.asEngine((tx) =>
        tx.query<{ seq: bigint }>('select seq from audit_events order by recorded_no'),
      );
      expect(rows.map((row) => Number(row.seq))).toEqual(Array.from({ length: 80 }, (_, i) => i));
    }));

  test('a backlog longer than a batch is taken in batches', () =>
    withDatabase(async (own) => {
      const { db } = own;
      const clock = handClock();
      await db.asEngine((tx) =>
        appendAudits(
          tx,
          Array.from({ length: SEQUENCE_BATCH + 10 }, (_, i) => event('pool/a', i)),
        ),
      );
      expect(await sequenceOnce(db, 0n, signer, clock)).toMatchObject({ sequenced: SEQUENCE_BATCH, more: true });
      expect(await sequenceOnce(db, 0n, signer, clock)).toMatchObject({ sequenced: 10, more: false });
      clock.add(CHECKPOINT_INTERVAL_MS);
      await sequenceOnce(db, 0n, signer, clock);
      expect(verifyFile(Buffer.from(await bundleOf(own)), roots)).toMatchObject({
        code: 0,
        summary: { events: SEQUENCE_BATCH + 10 },
      });
    }));

  test('a former leader neither sequences nor seals', () =>
    withDatabase(async ({ db, urls }) => {
      await db.asEngine((tx) => appendAudit(tx, event('pool/a', 0)));
      await asAdmin(urls.admin, "update leader_epochs set epoch = 2 where name = 'engine'");
      await expect(sequenceOnce(db, 1n, signer, handClock())).rejects.toBeInstanceOf(StaleLeader);
      await expect(
        runSequencer({ db, epoch: 1n, signer, clock: handClock() }, new AbortController().signal),
      ).rejects.toBeInstanceOf(StaleLeader);
      expect(await db.asEngine((tx) => tx.query('select 1 from audit_events where seq is not null'))).toEqual([]);
      expect(await db.asEngine(latestNote)).toBeUndefined();
    }));

  test('a leader deposed while its signer was busy seals nothing', () =>
    withDatabase(async ({ db, urls }) => {
      await db.asEngine((tx) => appendAudit(tx, event('pool/a', 0)));
      const slow = {
        ...signer,
        sign: async (bytes: Uint8Array) => {
          await asAdmin(urls.admin, "update leader_epochs set epoch = epoch + 1 where name = 'engine'");
          return signer.sign(bytes);
        },
      };
      await expect(sequenceOnce(db, 0n, slow, handClock())).rejects.toBeInstanceOf(StaleLeader);
      expect(await db.asEngine(latestNote)).toBeUndefined();
    }));

  test('a signer that fails loses nothing: the trail ages meanwhile, and is sealed in order when it is back', () =>
    withDatabase(async (own) => {
      const { db } = own;
      let broken = true;
      const failing = {
        ...signer,
        sign: async (bytes: Uint8Array) => (broken ? Promise.reject(new Error('away')) : signer.sign(bytes)),
      };
      const stop = new AbortController();
      const pauses: number[] = [];
      const ages: number[] = [];
      const loop = runSequencer(
        {
          db,
          epoch: 0n,
          signer: failing,
          clock: { ...systemClock, sleep: () => systemClock.sleep(1) },
          watch: {
            sequenced: () => {},
            sealed: () => {},
            unsealedAge: (seconds) => ages.push(seconds),
            failed: (_, retryInMs) => {
              pauses.push(retryInMs);
              if (pauses.length === 3) broken = false;
            },
          },
        },
        stop.signal,
      );
      await db.asEngine((tx) => appendAudit(tx, event('pool/a', 0)));
      await db.asEngine((tx) => appendAudit(tx, event('pool/a', 1)));
      expect(await awaitSealed(db, systemClock, AbortSignal.timeout(30_000))).toBe(true);
      expect(await db.asEngine((tx) => trailAgeMs(tx, Date.now()))).toBe(0);
      stop.abort();
      await loop;
      expect(pauses.slice(0, 3)).toEqual([100, 200, 400]);
      expect(Math.max(...ages)).toBeGreaterThan(0);
      expect(
        verifyFile(Buffer.from(await bundleOf(own)), {
          keys: new Map([...roots.keys].map(([id, key]) => [id, { ...key, validFromMs: 0, validToMs: undefined }])),
        }).code,
      ).toBe(0);
    }));

  test('the age of the trail is that of the oldest event not under a checkpoint, sequenced or not', () =>
    withDatabase(async ({ db }) => {
      const age = (inMs: number) => db.asEngine((tx) => trailAgeMs(tx, Date.now() + inMs));
      expect(await age(0)).toBe(0);
      await db.asEngine((tx) => appendAudit(tx, event('pool/a', 0)));
      expect(await age(60_000)).toBeGreaterThanOrEqual(60_000);
      const refusing = { ...signer, sign: () => Promise.reject(new Error('away')) };
      await expect(sequenceOnce(db, 0n, refusing, handClock())).rejects.toThrow('away');
      expect(await age(60_000)).toBeGreaterThanOrEqual(60_000);
      await sequenceOnce(db, 0n, signer, handClock());
      expect(await age(60_000)).toBe(0);
      expect(await awaitSealed(db, systemClock, AbortSignal.abort())).toBe(false);
    }));

  test('an event, a checkpoint or a node once written cannot be changed, not even by the superuser', () =>
    withDatabase(async ({ db, urls }) => {
      await db.asEngine((tx) => appendAudit(tx, event('pool/a', 0)));
      await sequenceOnce(db, 0n, signer, handClock());
      for (const change of [
        "update audit_events set bytes = ''",
        'update audit_events set seq = 5',
        'delete from audit_events',
        "update audit_checkpoints set note = ''",
        "update audit_nodes set hash = '\\x00'",
      ]) {
        await expect(asAdmin(urls.admin, change), change).rejects.toMatchObject({ code: 'MR001' });
      }
    }));
});

describe('a booking’s receipt from the database', () => {
  let own: TestDatabase;
  let story: Story;
  const clock = handClock();

  /** The story's transfers as the ledger takes them: those of one event are one batch. */
  async function move(told: Json | undefined, attempt: number): Promise<void> {
    const transfers = ((told ?? []) as unknown as TransferRecord[]).map(
      ({ id, kind, debit, credit, amount, pendingId }): TransferRequest => {
        if (kind === 'post' || kind === 'void') return { kind, id, pendingId: pendingId! };
        return { kind: kind as 'pending' | 'direct', id, debit, credit, amount: BigInt(amount) };
      },
    );
    if (transfers.length === 0) return;
    const context = { tenant: TENANT, bookingId: BOOKING, attempt, nowMs: STORY_START_MS };
    const result = await own.db.asEngine((tx) => executeLinked(tx, context, transfers));
    expect(result.ok && result.records).toEqual(told);
  }

  beforeAll(async () => {
    own = await testDatabase();
    story = await retrainStory(signer);
    const { db } = own;
    const created = story.events.find((e) => e.type === 'booking.created')!;
    await db.asEngine(async (tx) => {
      await tx.execute("insert into tenants (tenant) values ('acme'), ('globex')");
      await tx.execute("insert into divisions (tenant, division) values ('acme', 'vision')");
      const of = {
        tenant: TENANT,
        division: 'vision',
        pool: 'gpus',
        flavour: 'a100',
        resource: 'gpu',
        currency: 'USD',
      };
      await ensureAccounts(
        tx,
        placementAccounts({ ...of, capacityMilli: 8_000n, quotaMilli: 4_000n, budgetCents: 10_000n }),
      );
      await tx.execute(
        `insert into bookings (booking_id, tenant, division, job_name, requester, trace_id, spec, spec_hash, state, data, version, created_at, updated_at)
         values ($1, $2, 'vision', 'retrain-digits', 'merit/retrain', $3, $4, $5, 'waiting', '{}', 1, now(), now())`,
        [BOOKING, TENANT, created.trace, JSON.stringify(created.data.spec), created.data.specHash],
      );
      for (const body of story.evidence) {
        const { format } = body as { readonly format?: Json };
        if (format !== 'merit-manifest/1') await putEvidence(tx, TENANT, body as object);
        else {
          const manifest = story.events.find((e) => e.type === 'artifact.manifest')!;
          await tx.execute(
            'insert into manifests (manifest_id, tenant, booking_id, attempt, sha256, bytes) values ($1, $2, $3, 2, $4, $5)',
            [`${BOOKING}-2`, TENANT, BOOKING, manifest.data.sha256, canonicalBytes(body)],
          );
        }
      }
    });
    for (const [i, told] of story.events.entries()) {
      await move(told.data.transfers, Number(told.data.attempt));
      await db.asTenant(TENANT, async (tx) => {
        await appendAudit(tx, told);
        const state =
          told.type.startsWith('booking.') && told.type !== 'booking.created'
            ? told.type.slice('booking.'.length)
            : undefined;
        if (state === undefined) return;
        await tx.execute('update bookings set state = $2, version = version + 1 where booking_id = $1', [
          BOOKING,
          state,
        ]);
      });
      await db.asTenant('globex', (tx) => appendAudit(tx, event('pool/other', i, 'globex')));
      clock.add(400);
      if (i === 5)
        expect(await db.asTenant(TENANT, (tx) => buildReceipt(tx, BOOKING))).toMatchObject({ kind: 'not_ended' });
      if (i % 3 === 0 && i < story.events.length - 1) await sequenceOnce(db, 0n, signer, clock);
    }
  });
  afterAll(() => own.close());

  const receipt = async (tenant = TENANT) => own.db.asTenant(tenant, (tx) => buildReceipt(tx, BOOKING));

  test('is built by the tenant alone once its events are sealed, and holds offline', async () => {
    expect(await receipt()).toEqual({ kind: 'not_sealed' });
    clock.add(CHECKPOINT_INTERVAL_MS);
    await sequenceOnce(own.db, 0n, signer, clock);
    const built = await receipt();
    if (built.kind !== 'receipt') throw new Error(built.kind);
    const result = verifyFile(Buffer.from(built.text), roots);
    expect(result.findings).toEqual([]);
    expect(result).toMatchObject({
      code: 0,
      summary: { booking: BOOKING, state: 'released', attempts: 2, cost: [{ currency: 'USD', cents: '104' }] },
    });
    expect(built.text).not.toContain('globex');
    expect(await ledgerLeaks(own.db)).toEqual([]);
  });

  test('is not found by another tenant', async () => {
    expect(await receipt('globex')).toEqual({ kind: 'not_found' });
  });

  test('the bundle of the whole log holds, with every checkpoint on the way', async () => {
    const bundle = await bundleOf(own);
    const result = verifyFile(Buffer.from(bundle), roots);
    expect(result.findings).toEqual([]);
    expect(result.code).toBe(0);
    expect(result.summary).toMatchObject({ events: story.events.length * 2 });
    expect(bundle.match(/"type":"checkpoint"/g)!.length).toBeGreaterThan(2);
  });

  test('an owner who switches the triggers off and changes an event is found by bundle, receipt and invariants', async () => {
    const { admin } = own.urls;
    await asAdmin(admin, 'alter table audit_events disable trigger all');
    await asAdmin(
      admin,
      `update audit_events set bytes = convert_to(replace(convert_from(bytes, 'UTF8'), '"cents":"104"', '"cents":"103"'), 'UTF8')
       where type = 'booking.released'`,
    );
    const bundle = verifyFile(Buffer.from(await bundleOf(own)), roots);
    expect(bundle.code).toBe(10);
    expect(bundle.findings[0]).toMatchObject({ field: 'leaf' });
    const built = await receipt();
    if (built.kind !== 'receipt') throw new Error(built.kind);
    expect(verifyFile(Buffer.from(built.text), roots).code).toBe(10);
    const leaks = await ledgerLeaks(own.db);
    expect(leaks.map((leak) => leak.invariant)).toContain('leaves_are_the_hashes_of_their_events');
  });

  test('bytes that are no event any more are exported as they are, and found', async () => {
    await asAdmin(own.urls.admin, "update audit_events set bytes = '\\x7b' where type = 'booking.released'");
    const bundle = verifyFile(Buffer.from(await bundleOf(own)), roots);
    expect(bundle).toMatchObject({ code: 10 });
    expect(bundle.findings[0]!.problem).toMatch(/no event/);
    expect(parseNote((await own.db.asEngine(latestNote))!.note)).toBeDefined();
  });
});
