import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import type { RoomPorts } from '../../../../api/http/rooms/base.ts';
import { reportsOf } from '../../../../api/http/rooms/reports.ts';
import { buildHttpServer } from '../../../../api/http/server.ts';
import { OperatingError } from '../../../../core/operating-error.ts';
import type { NewMessage } from '../../../../platform/event-log.ts';
import { BacklogWatch } from '../../../../scoring/ingest/backlog.ts';
import { fakeServices, TOKEN } from './fake-services.ts';

/** A log in memory, of one partition, that takes no more than `room` messages. */
class Log {
  readonly messages: NewMessage[] = [];
  room = Number.POSITIVE_INFINITY;

  async append(message: NewMessage) {
    if (this.messages.length >= this.room) {
      throw new OperatingError('capacity', 'safe', 'appending to merit.reports', { cause: 'the log is behind' });
    }
    this.messages.push(message);
    return { partition: 0, offset: BigInt(this.messages.length - 1) };
  }

  async partitions() {
    return [0];
  }

  async end() {
    return { firstOffset: 0n, nextOffset: BigInt(this.messages.length), appendedAtMs: 0 };
  }
}

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

function world(messages: number) {
  const log = new Log();
  const fake = fakeServices();
  const { db, clock } = fake.services;
  let readTo = 0;
  const positions = async <T>(work: (tx: never) => Promise<T>) =>
    work({
      query: async () => [{ partition: 0, next_offset: BigInt(readTo), next_line: 0, appended_at_ms: 0n }],
    } as never);
  const backlog = new BacklogWatch({
    db: { ...db, asEngine: positions as never },
    eventLog: log,
    clock,
    limits: { messages, bytes: 1e15, ageMs: 1e9 },
    metrics: { backlog: () => {}, refused: (reason) => refused.push(reason) },
    log: { info: () => {}, warn: () => {}, error: () => {} },
  });
  const refused: string[] = [];
  const reports = reportsOf({ db, eventLog: log, backlog } as unknown as RoomPorts);
  const app = buildHttpServer({ ...fake.services, reports });
  closers.push(() => app.close());
  const headers = { host: 'localhost', authorization: `Bearer ${TOKEN}` };
  return {
    log,
    app,
    refused,
    errors: fake.errors,
    /** The consumer has come so far, and the door has seen it. */
    readUpTo: async (offset: number) => {
      readTo = offset;
      await backlog.look();
    },
    one: (id: string) =>
      app.inject({
        method: 'POST',
        url: '/v1/eval-reports',
        headers: { ...headers, 'content-type': 'application/json' },
        payload: JSON.stringify(report(id)),
      }),
    batch: (payload: Buffer | string, more: Readonly<Record<string, string>> = {}) =>
      app.inject({
        method: 'POST',
        url: '/v1/eval-reports:batch',
        headers: { ...headers, 'content-type': 'application/x-ndjson', ...more },
        payload,
      }),
  };
}

const report = (reportId: string, labels = {}) => ({
  schemaVersion: 1,
  reportId,
  producer: 'ci',
  model: 'm',
  suite: 's',
  observedAt: '2026-01-05T09:00:00Z',
  metrics: { a: 1 },
  labels,
});
/** A line that fills most of a message. */
const wide = (id: string) => `${JSON.stringify(report(id, { pad: 'x'.repeat(200_000) }))}\n`;

describe('a report that is taken', () => {
  test('is told its place in the log, and what is read before it', async () => {
    const { one, batch, readUpTo } = world(1_000);
    for (const id of ['a', 'b', 'c']) await one(id);
    await readUpTo(1);
    expect((await one('d')).json()).toMatchObject({
      status: 'accepted',
      positions: [{ partition: 0, offset: '3', before: 2 }],
      backlog: { messages: 3, ageSeconds: 0 },
    });
    const taken = await batch(gzipSync(wide('e') + wide('f')), { 'content-encoding': 'gzip' });
    expect(taken.statusCode).toBe(202);
    expect(taken.json()).toMatchObject({
      messages: 2,
      lines: 2,
      positions: [{ partition: 0, offset: '5', before: 4 }],
    });
  });
});

describe('once too many wait', () => {
  test('nothing more is taken, with the time to come again, until they were read', async () => {
    const { one, batch, readUpTo, log, refused, errors } = world(2);
    await readUpTo(0);
    await one('a');
    await one('b');
    for (const answer of [await one('c'), await batch(wide('d'))]) {
      expect(answer.statusCode).toBe(503);
      expect(answer.headers['retry-after']).toBe('30');
      expect(answer.json()).toMatchObject({ code: 'backlog', title: 'Service Unavailable' });
    }
    expect(log.messages).toHaveLength(2);
    expect(refused).toEqual(['messages', 'messages']);
    expect(errors).toEqual([]);
    await readUpTo(2);
    expect((await one('c')).statusCode).toBe(202);
  });

  test('that is said before the body is read, which is then cut off', async () => {
    const { app, one, readUpTo } = world(1);
    await readUpTo(0);
    await one('a');
    await app.listen({ host: '127.0.0.1', port: 0 });
    const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1');
    const answered = new Promise<string>((resolve) => {
      let text = '';
      socket.on('data', (data) => {
        text += data.toString();
        if (text.includes('"code":"backlog"')) resolve(text);
      });
    });
    const cut = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => {});
    socket.write(
      `POST /v1/eval-reports:batch HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${TOKEN}\r\n` +
        'Content-Type: application/x-ndjson\r\nContent-Length: 100000000\r\n\r\n{"half',
    );
    const answer = await answered;
    expect(answer).toContain('HTTP/1.1 503');
    expect(answer.toLowerCase()).toContain('retry-after: 30');
    // It goes on sending what nobody wants.
    const sending = setInterval(() => socket.write('x'.repeat(1000)), 100);
    await cut;
    clearInterval(sending);
  });

  test('an upload under way ends, and tells what of it is durable', async () => {
    const { batch, log, readUpTo } = world(2);
    await readUpTo(0);
    const answer = await batch(['a', 'b', 'c', 'd'].map(wide).join(''));
    expect(answer.statusCode).toBe(503);
    expect(answer.headers['retry-after']).toBe('30');
    const bytes = wide('a').length * 2;
    expect(answer.json()).toMatchObject({ code: 'backlog', durable: { messages: 2, lines: 2, bytes } });
    expect(log.messages).toHaveLength(2);
  });
});

describe('a log that holds as much as it can', () => {
  test('is no fault of ours: 503 with the time to come again, and what is durable already', async () => {
    const { batch, one, log, errors } = world(1_000);
    log.room = 0;
    for (const answer of [await one('a'), await batch(wide('a'))]) {
      expect(answer.statusCode).toBe(503);
      expect(answer.headers['retry-after']).toBe('1');
      expect(answer.json()).toMatchObject({ code: 'capacity' });
      expect(answer.json()).not.toHaveProperty('durable');
    }
    log.room = 1;
    expect((await batch(wide('a') + wide('b'))).json()).toMatchObject({
      code: 'capacity',
      durable: { messages: 1, lines: 1, bytes: wide('a').length },
    });
    expect(errors).toEqual([]);
  });

  test('what breaks in the middle of an upload tells what is durable too', async () => {
    const { batch } = world(1_000);
    const whole = gzipSync(['a', 'b', 'c'].map(wide).join(''), { level: 0 });
    const answer = await batch(whole.subarray(0, 590_000), { 'content-encoding': 'gzip' });
    expect(answer.json()).toMatchObject({ status: 400, code: 'gzip', durable: { messages: 1, lines: 1 } });
  });
});
