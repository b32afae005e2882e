import { describe, expect, test } from 'vitest';
import {
  Busy,
  http,
  type KafkaMessage,
  kafka,
  type Pack,
  Refused,
  RefusedReport,
  Reporter,
  reportKey,
  shardOf,
  type Target,
  UndeliveredReports,
} from '../../../../scoring/merit-reporter/src/index.ts';

let serial = 0;
const report = (pad = 0) => ({
  reportId: `r-${++serial}`,
  model: 'm',
  suite: 's',
  observedAt: '2026-01-05T09:00:00Z',
  metrics: { a: 1 },
  labels: { pad: 'x'.repeat(pad) },
});

interface Held {
  readonly packs: Pack[];
  readonly target: Target;
  release(): void;
}

/** A target that takes every pack, and delivers none until it is told to. */
function held(): Held {
  const packs: Pack[] = [];
  const waiting: (() => void)[] = [];
  return {
    packs,
    target: {
      byShard: false,
      deliver: (pack) => {
        packs.push(pack);
        return new Promise<void>((resolve) => waiting.push(resolve));
      },
    },
    release: () => {
      for (const done of waiting.splice(0)) done();
    },
  };
}

function target(deliver: (pack: Pack, tries: number) => void, byShard = false): { target: Target; tries: Pack[] } {
  const tries: Pack[] = [];
  return {
    tries,
    target: {
      byShard,
      deliver: async (pack) => {
        tries.push(pack);
        deliver(pack, tries.length);
      },
    },
  };
}

const idsIn = (lines: Uint8Array) =>
  Buffer.from(lines)
    .toString()
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { reportId: string }).reportId);

const QUICK = { producer: 'svc', lingerMs: 5 };

describe('reports that are handed in', () => {
  test('go in packs of about the size that is asked for, in their order, each once', async () => {
    const { target: to, tries } = target(() => {});
    const reporter = new Reporter({ to, ...QUICK, packBytes: 4096, concurrency: 1, lingerMs: 60_000 });
    const ids = [];
    for (let i = 0; i < 50; i++) ids.push(await reporter.send(report(200)));
    await reporter.close();
    expect(tries.flatMap((pack) => idsIn(pack.lines))).toEqual(ids);
    expect(tries.slice(0, -1).every((pack) => pack.lines.length > 3500 && pack.lines.length <= 4096)).toBe(true);
    expect(reporter.held).toBe(0);
  });

  test('that are few are sent when the first has waited, and a pack keeps the trace it began with', async () => {
    const trace = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
    const arrived = Promise.withResolvers<Pack>();
    const to: Target = { byShard: false, deliver: async (pack) => arrived.resolve(pack) };
    const reporter = new Reporter({ to, ...QUICK, traceparent: () => trace });
    await reporter.send(report());
    await reporter.send(report());
    expect(await arrived.promise).toMatchObject({ count: 2, shard: null, traceparent: trace });
    await reporter.close();
  });

  test('that Merit would set aside are refused at once, and nothing of them is kept', async () => {
    const { target: to, tries } = target(() => {});
    const reporter = new Reporter({ to, ...QUICK });
    await expect(reporter.send({ ...report(), metrics: { a: Number.NaN } })).rejects.toBeInstanceOf(RefusedReport);
    expect(reporter.held).toBe(0);
    await reporter.close();
    expect(tries).toEqual([]);
  });

  test('wait while as much is held as may be, and go on as room is made', async () => {
    const { target: to, packs, release } = held();
    const reporter = new Reporter({ to, ...QUICK, packBytes: 2048, maxBytes: 8192 });
    let taken = 0;
    const all = (async () => {
      for (let i = 0; i < 40; i++) {
        await reporter.send(report(700));
        taken++;
        expect(reporter.held).toBeLessThanOrEqual(8192);
      }
    })();
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(taken).toBeGreaterThan(4);
    expect(taken).toBeLessThan(10);
    const releasing = setInterval(release, 1);
    await all;
    await reporter.close();
    clearInterval(releasing);
    expect(packs.flatMap((pack) => idsIn(pack.lines))).toHaveLength(40);
  });
});

describe('a pack that fails', () => {
  test('is sent again as it is until it is durable', async () => {
    const retries: string[] = [];
    const { target: to, tries } = target((_pack, n) => {
      if (n < 3) throw new Error('ECONNRESET');
    });
    const reporter = new Reporter({ to, ...QUICK, onRetry: (error) => retries.push(error.message) });
    await reporter.send(report());
    await reporter.flush();
    expect(tries).toHaveLength(3);
    expect(new Set(tries.map((pack) => Buffer.from(pack.lines).toString())).size).toBe(1);
    expect(retries).toEqual(['ECONNRESET', 'ECONNRESET']);
    await reporter.close();
  });

  test('since the target is busy makes all wait as long as it asks', async () => {
    const at: number[] = [];
    const { target: to } = target((_pack, n) => {
      at.push(performance.now());
      if (n === 1) throw new Busy('full', 80);
    });
    const reporter = new Reporter({ to, ...QUICK, packBytes: 1024, concurrency: 2 });
    await reporter.send(report(600));
    await reporter.flush().catch(() => {});
    await reporter.send(report(600));
    await reporter.close();
    expect(at[1]! - at[0]!).toBeGreaterThanOrEqual(79);
  });

  test('for good goes to its owner, makes flush throw, and holds no other up, though its owner throws', async () => {
    const lost: string[][] = [];
    const { target: to } = target((pack) => {
      if (Buffer.from(pack.lines).includes('bad')) throw new Refused('Merit answered 403');
    });
    const reporter = new Reporter({
      to,
      ...QUICK,
      packBytes: 1024,
      concurrency: 1,
      onUndelivered: (lines) => {
        lost.push(idsIn(lines));
        throw new Error('no room to keep it');
      },
    });
    await reporter.send({ ...report(900), reportId: 'bad' });
    await reporter.send(report(900));
    await expect(reporter.flush()).rejects.toMatchObject({ name: 'UndeliveredReports', count: 1 });
    expect(lost).toEqual([['bad']]);
    expect(reporter.held).toBe(0);
    await reporter.flush();
    await reporter.close();
  });

  test('is given up when the reporter closes and its time is over', async () => {
    const lost: string[] = [];
    const { target: to } = target(() => {
      throw new Error('away');
    });
    const reporter = new Reporter({ to, ...QUICK, onUndelivered: (lines) => lost.push(...idsIn(lines)) });
    const ids = [await reporter.send(report()), await reporter.send(report())];
    await expect(reporter.close({ timeoutMs: 50 })).rejects.toBeInstanceOf(UndeliveredReports);
    expect(lost).toEqual(ids);
    await expect(reporter.send(report())).rejects.toThrow('closed');
  });
});

test('through Kafka a message holds reports of one shard, and goes to the partition that serves it', async () => {
  const sent: KafkaMessage[] = [];
  const to = kafka({ partitions: 6, tenant: 'acme', send: async (messages) => sent.push(...messages) });
  const reporter = new Reporter({ to, ...QUICK, lingerMs: 60_000, tenant: 'acme' });
  for (let i = 0; i < 300; i++) await reporter.send(report());
  await reporter.close();
  let lines = 0;
  for (const { partition, value, headers } of sent) {
    const shards = new Set(idsIn(value).map((id) => shardOf(reportKey('acme', 'svc', id))));
    expect(shards.size).toBe(1);
    expect(partition).toBe([...shards][0]! % 6);
    expect(headers).toMatchObject({ 'content-type': 'application/x-ndjson', 'merit-tenant': 'acme' });
    lines += idsIn(value).length;
  }
  expect(lines).toBe(300);
  expect(sent.length).toBeLessThanOrEqual(32);
});

test('through a Kafka client that never answers, a reporter that is closed gives up in its time', async () => {
  const told: AbortSignal[] = [];
  const to = kafka({
    send: (_messages, signal) => {
      told.push(signal);
      return new Promise(() => {});
    },
  });
  const lost: string[] = [];
  const reporter = new Reporter({ to, ...QUICK, onUndelivered: (lines) => lost.push(...idsIn(lines)) });
  await reporter.send(report());
  await expect(reporter.close({ timeoutMs: 50 })).rejects.toBeInstanceOf(UndeliveredReports);
  expect(lost).toHaveLength(1);
  expect(told.map(({ aborted }) => aborted)).toEqual([true]);
});

describe('over HTTP', () => {
  const answering = (status: number, headers: Readonly<Record<string, string>> = {}) =>
    http({
      url: 'http://127.0.0.1:1',
      token: async () => 't',
      fetch: (async () => new Response('{"code":"x"}', { status, headers })) as typeof fetch,
    }).deliver({ lines: Buffer.from('{}\n'), count: 1, shard: null, traceparent: 't' }, new AbortController().signal);

  test('202 is durable; what asks to wait is waited for; what is wrong with the request is hopeless, the rest is not', async () => {
    await answering(202);
    await expect(answering(503, { 'retry-after': '7' })).rejects.toMatchObject({ name: 'Busy', afterMs: 7_000 });
    await expect(answering(429, { 'retry-after': '999' })).rejects.toMatchObject({ name: 'Busy', afterMs: 60_000 });
    await expect(answering(500)).rejects.toMatchObject({ name: 'Error' });
    await expect(answering(401)).rejects.toMatchObject({ name: 'Error' });
    for (const status of [400, 403, 413, 422])
      await expect(answering(status)).rejects.toMatchObject({ name: 'Refused' });
  });
});
