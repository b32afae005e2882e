import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readBlocks } from '../../../../api/cli/event-stream.ts';
import { EventWakes } from '../../../../api/http/event-wakes.ts';
import { eventBlock, idBlock, SseStream } from '../../../../api/http/sse.ts';
import { systemClock } from '../../../../platform/clock.ts';

let server: Server;
let stream: Promise<SseStream>;
const SLOW_READER_MS = 150;

beforeEach(async () => {
  stream = new Promise((resolve) => {
    server = createServer((_request, answer) => resolve(new SseStream(answer, {}, SLOW_READER_MS)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

const port = () => (server.address() as AddressInfo).port;
const page = 'x'.repeat(256 * 1024);

describe('a stream', () => {
  test('cuts a reader off that does not take what it was sent, and holds no more of it than one page', async () => {
    const reader = connect(port(), '127.0.0.1');
    reader.on('error', () => {});
    reader.pause();
    reader.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    const sse = await stream;
    let taken = 0;
    // The kernel takes some of it; then the reader's time runs.
    while (await sse.send(`: ${page}\n\n`)) taken++;
    expect(sse.slow).toBe(true);
    expect(sse.gone.aborted).toBe(true);
    expect(taken).toBeLessThan(100);
    expect(await sse.send('id: 1\n\n')).toBe(false);
  });

  test('waits for a reader that is only slower than it', async () => {
    const response = fetch(`http://127.0.0.1:${port()}/`);
    const sse = await stream;
    const reader = (await response).body!.getReader();
    let read = 0;
    const reading = (async () => {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        read += value.length;
        await systemClock.sleep(1);
      }
    })();
    for (let i = 0; i < 20; i++) expect(await sse.send(page)).toBe(true);
    sse.end();
    await reading;
    expect([read, sse.slow]).toEqual([20 * page.length, false]);
  });

  test('knows that its reader went', async () => {
    const stop = new AbortController();
    const response = fetch(`http://127.0.0.1:${port()}/`, { signal: stop.signal });
    const sse = await stream;
    await response;
    const gone = once(sse.gone, 'abort');
    stop.abort();
    await gone;
    expect([await sse.send('id: 1\n\n'), sse.slow]).toEqual([false, false]);
  });
});

describe('blocks', () => {
  async function* chunksOf(text: string, size: number): AsyncGenerator<Uint8Array> {
    const bytes = Buffer.from(text);
    for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size);
  }

  test('are read as they were written, in chunks of any size, whatever their texts hold', async () => {
    const data = { text: 'ä\n\r\n: id\u2028 data: x', n: 1 };
    const text = `retry: 2000\n${idBlock('1.0-0')}: alive\n\n${eventBlock({ id: '2.1-0', type: 'score.tick', data })}`;
    for (const size of [1, 2, 7, 1000]) {
      const blocks = [];
      for await (const block of readBlocks(chunksOf(text, size))) blocks.push(block);
      expect(blocks).toEqual([
        { id: '1.0-0', type: 'message', data: undefined },
        { id: '2.1-0', type: 'score.tick', data: JSON.stringify(data) },
      ]);
    }
  });

  test('that were cut off are none', async () => {
    const whole = eventBlock({ id: '1', type: 'a', data: {} });
    for (let end = 0; end < whole.length; end++) {
      for await (const block of readBlocks(chunksOf(whole.slice(0, end), 64))) expect(block).toBeUndefined();
    }
  });
});

describe('streams of a tenant', () => {
  const POLL_MS = 10;

  test('are woken by one look, also by what changed between a read and its wait', async () => {
    let head = 'a';
    let looks = 0;
    const wakes = new EventWakes(
      async () => {
        looks++;
        return head;
      },
      systemClock,
      POLL_MS,
    );
    const watches = Array.from({ length: 20 }, () => wakes.open('acme'));
    const { signal } = new AbortController();
    await Promise.all(watches.map((watch) => watch.wait(0, 60_000, signal)));
    expect(looks).toBeLessThan(5);
    const marks = watches.map((watch) => watch.mark());
    head = 'b';
    await systemClock.sleep(5 * POLL_MS);
    // Missed while nobody waited: the mark tells.
    await Promise.all(watches.map((watch, i) => watch.wait(marks[i]!, 60_000, signal)));
    for (const watch of watches) watch.close();
    const before = looks;
    await systemClock.sleep(5 * POLL_MS);
    expect(looks).toBeLessThanOrEqual(before + 1);
  });

  test('wait no longer than they are told to, and look on while the database is away', async () => {
    let away = true;
    const wakes = new EventWakes(
      async () => {
        if (away) throw new Error('away');
        return 'a';
      },
      systemClock,
      POLL_MS,
    );
    const watch = wakes.open('acme');
    const mark = watch.mark();
    await watch.wait(mark, 3 * POLL_MS, new AbortController().signal);
    expect(watch.mark()).toBe(mark);
    away = false;
    await watch.wait(mark, 60_000, new AbortController().signal);
    expect(watch.mark()).toBe(mark + 1);
    const stop = new AbortController();
    const waiting = watch.wait(watch.mark(), 60_000, stop.signal);
    stop.abort();
    await waiting;
    watch.close();
  });
});
