import { type RayJob, RayJobError } from 'ray-job-submission-client';
import { afterEach, expect, test } from 'vitest';
import { systemClock } from '../../../../platform/clock.ts';
import { type LogSource, LogTails } from '../../../../providers/ray/log-tails.ts';

const signal = new AbortController().signal;

/** A log as Ray has it: a tail and a reading both begin at its first byte, and a dead node's log cannot be read. */
class FakeLog implements LogSource {
  text = '';
  live = true;
  /** Ray calls it running, and its node has died. */
  onLostNode = false;
  /** What a tail or a reading throws. */
  tailFault: RayJobError | undefined;
  readFault: RayJobError | undefined;
  tails = 0;
  open = 0;
  readings = 0;
  sent = 0;

  async *tail(_id: string, { fromByte = 0 } = {}, stop?: AbortSignal): AsyncGenerator<Uint8Array> {
    this.tails++;
    this.open++;
    try {
      for (let at = 0; ; ) {
        if (this.tailFault !== undefined) throw this.tailFault;
        const part = Buffer.from(this.text.slice(at, at + 7));
        this.sent += part.length;
        const skipped = Math.min(part.length, Math.max(0, fromByte - at));
        at += part.length;
        if (skipped < part.length) yield part.subarray(skipped);
        if (part.length > 0) continue;
        if (!this.live || stop?.aborted === true) return;
        await systemClock.sleep(5);
      }
    } finally {
      this.open--;
    }
  }

  async logs(_id: string, { fromByte = 0, maxBytes = 0 } = {}): Promise<Buffer> {
    this.readings++;
    if (this.readFault !== undefined) throw this.readFault;
    return Buffer.from(this.text).subarray(fromByte, fromByte + maxBytes);
  }

  async get(): Promise<RayJob> {
    return { status: this.live ? 'RUNNING' : 'FAILED' } as RayJob;
  }
}

let tails: LogTails;
afterEach(() => tails.close());

function opened(log: FakeLog): LogTails {
  tails = new LogTails(log, systemClock, { holds: async () => log.onLostNode });
  return tails;
}

async function rest(fromByte: number, maxBytes = 10): Promise<string> {
  let text = '';
  for (;;) {
    const part = Buffer.from(await tails.read('m-b1-1', fromByte + text.length, maxBytes, signal));
    if (part.length === 0) return text;
    expect(part.length).toBeLessThanOrEqual(maxBytes);
    text += part.toString();
  }
}

test('a log that is read as it grows passes over the wire once, and its end is read whole once', async () => {
  const log = new FakeLog();
  opened(log);
  let got = '';
  for (let i = 0; i < 5; i++) {
    log.text += `line ${i} of what the job says\n`;
    got += await rest(got.length);
  }
  expect([got, log.tails, log.readings, log.sent]).toEqual([log.text, 1, 0, log.text.length]);
  log.text += 'the end\n';
  log.live = false;
  got += await rest(got.length);
  expect([got, log.tails, log.readings]).toEqual([log.text, 1, 1]);
});

test('any byte may be read again, and the tail goes on from there', async () => {
  const log = new FakeLog();
  log.text = '0123456789'.repeat(5);
  opened(log);
  expect(await rest(0)).toBe(log.text);
  expect(await rest(15)).toBe(log.text.slice(15));
  expect(log.tails).toBe(2);
});

test('two who wait for the same byte both get what comes there', async () => {
  const log = new FakeLog();
  opened(log);
  const both = [0, 0].map((fromByte) => tails.read('m-b1-1', fromByte, 3, signal));
  await systemClock.sleep(20);
  log.text = 'abcdefghi';
  for (const part of await Promise.all(both)) expect(Buffer.from(part).toString()).toBe('abc');
});

test('what was read stays when the node dies: what comes after it is an error and never an end', async () => {
  const log = new FakeLog();
  log.text = 'before it died\n';
  opened(log);
  const got = await rest(0);
  log.live = false;
  log.readFault = new RayJobError('server', 'Ray answered 500');
  await expect(tails.read('m-b1-1', got.length, 10, signal)).rejects.toThrow('Ray answered 500');
});

test('a silent tail is no end of a log whose node has died, although Ray says that the job runs', async () => {
  const log = new FakeLog();
  log.text = 'before it died\n';
  opened(log);
  const got = await rest(0);
  log.onLostNode = true;
  log.readFault = new RayJobError('server', 'Ray answered 500');
  await expect(tails.read('m-b1-1', got.length, 10, signal)).rejects.toThrow('Ray answered 500');
});

test('a tail that cannot be had is a whole reading', async () => {
  const log = new FakeLog();
  log.text = 'from the whole log\n';
  log.live = false;
  log.tailFault = new RayJobError('unreachable', 'no WebSocket');
  opened(log);
  expect(await rest(5, 100)).toBe(log.text.slice(5));
});

test('a log too long for a whole reading ends with its tail', async () => {
  const log = new FakeLog();
  log.text = 'x'.repeat(50);
  log.live = false;
  log.readFault = new RayJobError('too_large', 'beyond 256 MiB');
  opened(log);
  expect(await rest(0)).toBe(log.text);
});

test('at most 256 logs are followed; beyond, the one read longest ago is let go', async () => {
  const log = new FakeLog();
  log.text = 'x';
  opened(log);
  for (let i = 0; i < 260; i++) await tails.read(`m-b${i}-1`, 0, 1, signal);
  await expect.poll(() => log.open).toBe(256);
  tails.close();
  await expect.poll(() => log.open).toBe(0);
});
