import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { DRAIN_BATCH, drainOnce, enqueue, type OutboxMessage, runOutbox } from '../../ledger/outbox/outbox.ts';
import { systemClock } from '../../platform/clock.ts';
import { StaleLeader } from '../../platform/postgres.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';

describe('the outbox', () => {
  let own: TestDatabase;
  const never = new AbortController().signal;
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
    expect(await drainOnce(own.db, 0n, publish, never)).toBe(DRAIN_BATCH);
    expect(await drainOnce(own.db, 0n, publish, never)).toBe(5);
    expect(await drainOnce(own.db, 0n, publish, never)).toBe(0);
    expect(seen.map((message) => message.body)).toEqual(Array.from({ length: total }, (_, n) => ({ n })));
    expect(new Set(seen.map((message) => message.id)).size).toBe(total);
  });

  test('what is rolled back is never published', async () => {
    const undone = own.db.asTenant('acme', async (tx) => {
      await enqueue(tx, fact('k', 1));
      throw new Error('undone');
    });
    await expect(undone).rejects.toThrow('undone');
    expect(await drainOnce(own.db, 0n, async () => {}, never)).toBe(0);
  });

  test('a failure stops it there; the next run goes on with the same message', async () => {
    await own.db.asTenant('acme', (tx) => enqueue(tx, fact('a', 1), fact('b', 2), fact('a', 3)));
    const seen: unknown[] = [];
    let fail = true;
    const publish = async (message: OutboxMessage) => {
      if (message.key === 'b' && fail) throw new Error('away');
      seen.push(message.body);
    };
    await expect(drainOnce(own.db, 0n, publish, never)).rejects.toThrow('away');
    expect(seen).toEqual([{ n: 1 }]);
    fail = false;
    expect(await drainOnce(own.db, 0n, publish, never)).toBe(2);
    expect(seen).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
  });

  test('a former leader marks nothing, so that its successor publishes again', async () => {
    await own.db.asTenant('acme', (tx) => enqueue(tx, fact('a', 1)));
    await expect(drainOnce(own.db, 99n, async () => {}, never)).rejects.toBeInstanceOf(StaleLeader);
    expect(await drainOnce(own.db, 0n, async () => {}, never)).toBe(1);
  });

  test('the loop retries after a failure and ends with its signal', async () => {
    await own.db.asTenant('acme', (tx) => enqueue(tx, fact('a', 1), fact('a', 2)));
    const stop = new AbortController();
    const seen: unknown[] = [];
    const pauses: number[] = [];
    let failures = 2;
    await runOutbox(
      {
        db: own.db,
        epoch: 0n,
        clock: { ...systemClock, sleep: async () => {} },
        publish: async (message) => {
          if (failures-- > 0) throw new Error('away');
          seen.push(message.body);
          if (seen.length === 2) stop.abort();
        },
        failed: (_, retryInMs) => pauses.push(retryInMs),
      },
      stop.signal,
    );
    expect(seen).toEqual([{ n: 1 }, { n: 2 }]);
    expect(pauses).toEqual([200, 400]);
  });
});
