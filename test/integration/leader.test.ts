import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import { type Leadership, lead, type Seat } from '../../platform/leader.ts';
import { isDatabaseAway, StaleLeader } from '../../platform/postgres.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';

let t: TestDatabase;
const held: Leadership[] = [];

beforeAll(async () => {
  t = await testDatabase();
});
afterAll(() => t.close());
afterEach(async () => {
  for (const leadership of held.splice(0)) await leadership.resign().catch(() => {});
});

async function nominated(
  holder: string,
  seat: Seat = 'engine',
  signal = new AbortController().signal,
): Promise<Leadership> {
  const leadership = await lead(t.urls.engine, seat, holder, systemClock, signal);
  if (leadership === undefined) throw new Error(`${holder} was not nominated`);
  held.push(leadership);
  return leadership;
}

const lostOf = (leadership: Leadership) =>
  new Promise<void>((resolve) => {
    if (leadership.lost.aborted) resolve();
    leadership.lost.addEventListener('abort', () => resolve(), { once: true });
  });

describe('leadership', () => {
  test('one leads at a time; the next one has a newer epoch, and the old one changes nothing any more', async () => {
    const first = await nominated('first');
    const waiting = nominated('second');
    await t.db.asLeader(first.epoch, (tx) => tx.query('select 1'));
    await first.resign();
    const second = await waiting;
    expect(second.epoch).toBeGreaterThan(first.epoch);
    expect(first.lost.aborted).toBe(true);
    await expect(t.db.asLeader(first.epoch, (tx) => tx.query('select 1'))).rejects.toThrow(StaleLeader);
  });

  test('each seat has a leader of its own, and a new one of one seat leaves the others as they are', async () => {
    const engine = await nominated('one', 'engine');
    const ingest = await nominated('two', 'ingest');
    expect(ingest.epoch).not.toBe(engine.epoch);
    await engine.resign();
    const next = await nominated('three', 'engine');
    await expect(t.db.asLeader(engine.epoch, (tx) => tx.query('select 1'))).rejects.toThrow(StaleLeader);
    for (const { epoch } of [ingest, next]) await t.db.asLeader(epoch, (tx) => tx.query('select 1'));
  });

  test('who waits is not nominated once its signal came', async () => {
    await nominated('holder');
    const stop = new AbortController();
    const waiting = lead(t.urls.engine, 'engine', 'waiting', systemClock, stop.signal);
    stop.abort();
    expect(await waiting).toBeUndefined();
  });

  test('a leader whose connection is cut is told, and another takes over', async () => {
    const first = await nominated('first');
    const lost = lostOf(first);
    const cut = await t.db.asEngine((tx) =>
      tx.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'merit leader' and datname = current_database()",
      ),
    );
    expect(cut).toHaveLength(1);
    await lost;
    expect((await nominated('second')).epoch).toBeGreaterThan(first.epoch);
  });

  test("the environment's Postgres settings change nothing", async () => {
    process.env.PGOPTIONS = '-c search_path=nowhere';
    try {
      expect((await nominated('plain')).epoch).toBeGreaterThan(0n);
    } finally {
      delete process.env.PGOPTIONS;
    }
  });
});

test.each([
  ['a host that does not answer', { code: 'ETIMEDOUT' }],
  ['a name server that is away', { code: 'EAI_AGAIN' }],
  ['a route that is down', { code: 'EHOSTUNREACH' }],
  ['a server without a free connection', { code: '53300' }],
  ['a session ended for idling', { code: '57P05' }],
  ['a connect that took too long', new Error('timeout expired')],
])('%s is a database that is away for a while', (_name, error) => {
  expect(isDatabaseAway(error)).toBe(true);
});
