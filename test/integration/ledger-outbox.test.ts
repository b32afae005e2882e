import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { DRAIN_BATCH, drainOnce, enqueue, expirePublished, type OutboxMessage } from '../../ledger/outbox/outbox.ts';
import { StaleLeader } from '../../platform/postgres.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';

describe('the outbox', () => {
  let own: TestDatabase;
  const fact = (key: string, n: number) => ({ tenant: 'acme', topic: 'promotions', key, body: { n } });

  beforeAll(async () => {
    own = await testDatabase();
    await own.db.asEngine((tx) => tx.execute("insert into tenants (tenant) values ('acme')"));
  });
  beforeEach(() => asAdmin(own.urls.admin, 'truncate outbox').then(() => {}));
  afterAll(() => own.close());

  test('publishes in the order of writing, and each once where nothing fails', async () => {
    const total = DRAIN_BATCH + 5;
    await own.db.asTenant('acme', (tx) => enqueue(tx, ...Array.from({ length: total }, (_, n) => fact('k', n))));
    const seen: OutboxMessage[] = [];
    const publish = async (message: OutboxMessage) => void seen.push(message);
    expect(await drainOnce(own.db, 0n, publish)).toBe(DRAIN_BATCH);
    expect(await drainOnce(own.db, 0n, publish)).toBe(5);
    expect(await drainOnce(own.db, 0n, publish)).toBe(0);
    expect(seen.map((message) => message.body)).toEqual(Array.from({ length: total }, (_, n) => ({ n })));
    expect(new Set(seen.map((message) => message.id)).size).toBe(total);
  });

  test('what is rolled back is never published', async () => {
    const undone = own.db.asTenant('acme', async (tx) => {
      await enqueue(tx, fact('k', 1));
      throw new Error('undone');
    });
    await expect(undone).rejects.toThrow('undone');
    expect(await drainOnce(own.db, 0n, async () => {})).toBe(0);
  });

  test('one that fails holds up those of its key alone, and they go in order once it went', async () => {
    await own.db.asTenant('acme', (tx) => enqueue(tx, fact('a', 1), fact('b', 2), fact('a', 3), fact('b', 4)));
    const seen: unknown[] = [];
    let fail = true;
    const publish = async (message: OutboxMessage) => {
      if (message.key === 'b' && fail) throw new Error('away');
      seen.push(message.body);
    };
    await expect(drainOnce(own.db, 0n, publish)).rejects.toThrow('away');
    expect(seen).toEqual([{ n: 1 }, { n: 3 }]);
    fail = false;
    expect(await drainOnce(own.db, 0n, publish)).toBe(2);
    expect(seen).toEqual([{ n: 1 }, { n: 3 }, { n: 2 }, { n: 4 }]);
  });

  test('a former leader marks nothing, so that its successor publishes again', async () => {
    await own.db.asTenant('acme', (tx) => enqueue(tx, fact('a', 1)));
    await expect(drainOnce(own.db, 99n, async () => {})).rejects.toBeInstanceOf(StaleLeader);
    expect(await drainOnce(own.db, 0n, async () => {})).toBe(1);
  });

  test('published facts go after their retention, those that wait never', async () => {
    await own.db.asTenant('acme', (tx) => enqueue(tx, fact('a', 1), fact('a', 2), fact('a', 3)));
    await drainOnce(own.db, 0n, async () => {});
    await own.db.asTenant('acme', (tx) => enqueue(tx, fact('a', 4)));
    await asAdmin(
      own.urls.admin,
      "update outbox set published_at = published_at - interval '8 days' where (body->>'n')::int < 3",
    );
    const weekAgoMs = Date.now() - 7 * 86_400_000;
    expect(await expirePublished(own.db, 0n, weekAgoMs, 1)).toBe(1);
    expect(await expirePublished(own.db, 0n, weekAgoMs, 10)).toBe(1);
    expect(await expirePublished(own.db, 0n, weekAgoMs, 10)).toBe(0);
    const left = await asAdmin(own.urls.admin, "select body->>'n' as n from outbox order by outbox_id");
    expect(left).toEqual([{ n: '3' }, { n: '4' }]);
  });
});
