import { beforeEach, describe, expect, test } from 'vitest';
import { appendAudits, type NewAuditEvent } from '../../ledger/audit/append.ts';
import { parseNote, signCheckpoint } from '../../ledger/audit/checkpoint.ts';
import { exportBundle } from '../../ledger/audit/export.ts';
import { askForKey, KEY_OVERLAP_MS, readKeys, rootKeys } from '../../ledger/audit/key-history.sql.ts';
import { lineText } from '../../ledger/audit/lines.ts';
import type { Roots } from '../../ledger/audit/roots.ts';
import { CHECKPOINT_INTERVAL_MS, sequenceOnce } from '../../ledger/audit/sequencer.ts';
import { openSigningKeys, type SigningKeys } from '../../ledger/audit/signing-keys.ts';
import { verifyFile } from '../../ledger/audit/verify.ts';
import { type Clock, systemClock } from '../../platform/clock.ts';
import type { Signer } from '../../platform/signer.ts';
import { p256Signer, STORY_START_MS, TENANT, testSigner } from '../support/audit-story.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';

const by = { tenant: TENANT, actor: 'token:ops', traceId: '0'.repeat(32) };
const DAY_MS = 86_400_000;

let own: TestDatabase;
let now = STORY_START_MS;
const clock: Clock = { now: () => now, sleep: (ms) => systemClock.sleep(Math.min(ms, 1)) };
let written = 0;

const write = (count = 3) =>
  own.db.asEngine((tx) =>
    appendAudits(
      tx,
      Array.from({ length: count }, (): NewAuditEvent => {
        const at = new Date(now).toISOString();
        return {
          tenant: TENANT,
          subject: 'pool/a',
          type: 'pool.changed',
          at,
          actor: 'test',
          trace: '',
          data: { i: written++ },
        };
      }),
    ),
  );
async function seal(keys: SigningKeys): Promise<string | undefined> {
  await write();
  now += CHECKPOINT_INTERVAL_MS;
  return (await sequenceOnce(own.db, 0n, keys.signer, clock, { keys })).checkpoint?.keyId;
}
const bundle = async () => (await Array.fromAsync(exportBundle(own.db))).join('');
const roots = async (): Promise<Roots> => {
  const keys = rootKeys(await own.db.asEngine(readKeys));
  // The first event is of today, by the clock of Postgres; the story is not.
  return {
    keys: new Map(keys.map((key) => [key.keyId, { ...key, validFromMs: Math.min(key.validFromMs, STORY_START_MS) }])),
  };
};
const verify = async (text: string) => verifyFile(Buffer.from(text), await roots());

beforeEach(async () => {
  own = await testDatabase();
  await own.db.asEngine((tx) => tx.execute('insert into tenants (tenant) values ($1)', [TENANT]));
});
const closeAfter = async (work: () => Promise<void>) => {
  try {
    await work();
  } finally {
    await own.close();
  }
};

describe('the first key of a trail', () => {
  test('is noted with the first start, valid from that day on, and of two starts at once one notes it', () =>
    closeAfter(async () => {
      const [a, b] = [testSigner(), testSigner()];
      const opened = await Promise.allSettled([
        openSigningKeys(own.db, a, undefined),
        openSigningKeys(own.db, b, undefined),
      ]);
      expect(opened.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
      const [key, ...more] = await own.db.asEngine(readKeys);
      expect(more).toEqual([]);
      expect(key).toMatchObject({ state: 'in_use', validToMs: undefined });
      expect(key!.validFromMs! % DAY_MS).toBe(0);
      expect(Date.now() - key!.validFromMs!).toBeLessThan(2 * DAY_MS);
    }));

  test('cannot be changed in the configuration: another one is refused, with what to do', () =>
    closeAfter(async () => {
      await openSigningKeys(own.db, testSigner(), undefined);
      await expect(openSigningKeys(own.db, testSigner(), undefined)).rejects.toMatchObject({
        code: 'part-missing',
        mend: expect.stringContaining('signer.next'),
      });
    }));
});

describe('a rotation', () => {
  test.each([
    ['an Ed25519 key', testSigner],
    ['a P-256 key', p256Signer],
  ])('to %s: the old key seals the event that tells of it, and nothing after', (_, make) =>
    closeAfter(async () => {
      const [old, next] = [testSigner(), make()];
      const keys = await openSigningKeys(own.db, old, next);
      expect(await seal(keys)).toBe(old.keyId);
      // By mistake, or of a server that does not lead: as long as the trail tells nothing of it, it is taken back by the next.
      expect(await own.db.asEngine((tx) => askForKey(tx, by, testSigner()))).toBe('asked');
      expect(await own.db.asEngine((tx) => askForKey(tx, by, next))).toBe('asked');
      expect(await own.db.asEngine((tx) => askForKey(tx, by, next))).toBe('asked_before');
      const changedAtMs = now + CHECKPOINT_INTERVAL_MS;
      expect(await seal(keys)).toBe(old.keyId);
      expect(await seal(keys)).toBe(next.keyId);
      expect(await seal(keys)).toBe(next.keyId);
      expect(await own.db.asEngine((tx) => askForKey(tx, by, next))).toBe('in_use');
      expect(await own.db.asEngine((tx) => askForKey(tx, by, old))).toBe('retired');
      expect(await own.db.asEngine(readKeys)).toMatchObject([
        { keyId: old.keyId, state: 'retired', validToMs: changedAtMs + KEY_OVERLAP_MS },
        { keyId: next.keyId, state: 'in_use', validFromMs: changedAtMs - KEY_OVERLAP_MS, validToMs: undefined },
      ]);
      const checked = await verify(await bundle());
      expect(checked.findings).toEqual([]);
      expect(checked).toMatchObject({ code: 0, summary: { keyIds: [next.keyId, old.keyId] } });
    }),
  );

  test('comes with the next look though nothing else was written, and one after another', () =>
    closeAfter(async () => {
      const signers = [testSigner(), p256Signer(), testSigner()] as const;
      for (const [i, signer] of signers.slice(1).entries()) {
        const keys = await openSigningKeys(own.db, signers[i]!, signer);
        await seal(keys);
        await own.db.asEngine((tx) => askForKey(tx, by, signer));
        now += 1;
        const { checkpoint } = await sequenceOnce(own.db, 0n, keys.signer, clock, { keys });
        expect(checkpoint?.keyId).toBe(signers[i]!.keyId);
        await seal(keys);
      }
      expect(await verify(await bundle())).toMatchObject({ code: 0, findings: [] });
    }));

  test('is not begun by a leader who has the old key only, and none who lacks the new one signs past it', () =>
    closeAfter(async () => {
      const [old, next] = [testSigner(), testSigner()];
      const [one, both] = [await openSigningKeys(own.db, old, undefined), await openSigningKeys(own.db, old, next)];
      await seal(one);
      await own.db.asEngine((tx) => askForKey(tx, by, next));
      expect(await seal(one)).toBe(old.keyId);
      expect(await own.db.asEngine(readKeys)).toMatchObject([{ state: 'in_use' }, { state: 'asked_for' }]);
      // The event is written, and the signer fails: another leader, who has the old key only, does not seal it.
      const failing = { ...both, held: (id: string) => withBrokenSign(both.held(id)) };
      await write();
      await expect(sequenceOnce(own.db, 0n, failing.signer, clock, { keys: failing })).rejects.toThrow('away');
      await expect(seal(one)).rejects.toMatchObject({ code: 'part-missing' });
      expect(await own.db.asEngine((tx) => askForKey(tx, by, testSigner()))).toBe('another_asked');
      expect(await seal(both)).toBe(old.keyId);
      expect(await seal(both)).toBe(next.keyId);
      await expect(seal(one)).rejects.toMatchObject({ code: 'part-missing' });
      expect(await verify(await bundle())).toMatchObject({ code: 0, findings: [] });
    }));

  test('is learnt of by every process, whose decisions are signed by the new key then', () =>
    closeAfter(async () => {
      const [old, next] = [testSigner(), testSigner()];
      const [leader, other] = [await openSigningKeys(own.db, old, next), await openSigningKeys(own.db, old, next)];
      const stop = new AbortController();
      const following = other.follow(clock, stop.signal);
      await seal(leader);
      await own.db.asEngine((tx) => askForKey(tx, by, next));
      await seal(leader);
      await expect.poll(() => other.signer.keyId).toBe(next.keyId);
      stop.abort();
      await following;
    }));

  test('of keys is never taken back, not even by the superuser', () =>
    closeAfter(async () => {
      await openSigningKeys(own.db, testSigner(), undefined);
      for (const change of [
        'delete from signer_keys',
        "update signer_keys set public_key = ''",
        "update signer_keys set valid_from = now() - interval '1 year'",
      ])
        await expect(asAdmin(own.urls.admin, change), change).rejects.toMatchObject({ code: 'MR001' });
    }));
});

function withBrokenSign(signer: Signer | undefined): Signer | undefined {
  return signer === undefined ? undefined : { ...signer, sign: () => Promise.reject(new Error('away')) };
}

describe('whoever stole a retired key', () => {
  let text: string;
  let trusted: Roots;
  const [old, next] = [testSigner(), testSigner()];
  beforeEach(async () => {
    const keys = await openSigningKeys(own.db, old, next);
    await seal(keys);
    await own.db.asEngine((tx) => askForKey(tx, by, next));
    for (let i = 0; i < 4; i++) await seal(keys);
    text = await bundle();
    trusted = await roots();
    await own.close();
  });

  /** The bundle with some of its checkpoints signed anew by the old key, at a time of the thief's choice. */
  async function resigned(
    which: (line: number, keyId: string) => boolean,
    at: (atMs: number) => number,
  ): Promise<string> {
    const lines = await Promise.all(
      text.split(/(?<=\n)/).map(async (line, i) => {
        const { note } = JSON.parse(line) as { note?: string };
        const checkpoint = note === undefined ? undefined : parseNote(note)?.checkpoint;
        if (checkpoint === undefined || !which(i + 1, checkpoint.keyId)) return line;
        const { origin, treeSize, rootHash, atMs } = checkpoint;
        return lineText({
          type: 'checkpoint',
          note: await signCheckpoint(old, { origin, treeSize, rootHash, atMs: at(atMs) }),
        });
      }),
    );
    return lines.join('');
  }
  const check = (file: string) => verifyFile(Buffer.from(file), trusted);

  test('is told by the window where he writes the time that it is', async () => {
    const lateMs = KEY_OVERLAP_MS + 60_000;
    const file = await resigned(
      (line) => line === 2,
      (atMs) => atMs + lateMs,
    );
    expect(check(file)).toMatchObject({ code: 10 });
    expect(check(file).findings[0]!.problem).toContain('outside the validity window');
  });

  test('is told by the place where he writes another: the last checkpoint, one on the way, or all since', async () => {
    const toOld = () => STORY_START_MS;
    const same = (atMs: number) => atMs;
    for (const when of [toOld, same]) {
      for (const which of [
        (line: number) => line === 2,
        (line: number, keyId: string) => line > 2 && keyId === next.keyId,
        (_: number, keyId: string) => keyId === next.keyId,
      ]) {
        const { code, findings } = check(await resigned(which, when));
        expect(code).toBe(10);
        expect(findings.map(({ problem }) => problem).join()).toMatch(/the turn of|before one that it follows/);
      }
    }
  });

  test('is told too by the roots of a time before the rotation, which do not know the new key', () => {
    const first = { keys: new Map([...trusted.keys].slice(0, 1)) };
    expect(verifyFile(Buffer.from(text), first).code).toBe(10);
    expect(check(text).code).toBe(0);
  });
});
