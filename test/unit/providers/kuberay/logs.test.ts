import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import type { Clock } from '../../../../platform/clock.ts';
import { Dashboards } from '../../../../providers/kuberay/dashboard.ts';
import { LogReader } from '../../../../providers/kuberay/log-reader.ts';
import type { RayJobObject } from '../../../../providers/kuberay/ray-job.ts';
import type { Cluster } from '../../../../providers/kubernetes/cluster.ts';

const signal = AbortSignal.timeout(60_000);
const MIB = 1024 ** 2;
const job = (uid = 'u'): RayJobObject => ({
  metadata: { name: 'm-b1-1', uid },
  status: { rayClusterName: 'c', dashboardURL: 's.n.svc:8265' },
});

test('an answer without an end is read up to its limit, and cut', async () => {
  const cut = Promise.withResolvers<void>();
  const server = createServer((_, outgoing) => {
    outgoing.on('close', () => cut.resolve());
    const more = () => {
      while (outgoing.write(Buffer.alloc(64 * 1024))) if (outgoing.destroyed) return;
    };
    outgoing.on('drain', more);
    more();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const dashboards = `http://127.0.0.1:${(server.address() as AddressInfo).port}/{namespace}/{service}`;
  const config = { image: 'r', rayVersion: '2.60.0', flavours: [], dashboards, allowUnauthenticated: true };
  try {
    await new Dashboards({} as Cluster, config).stop('n', job(), signal);
    await cut.promise;
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

/** A reader of logs of so many bytes, on a clock that is moved by hand. */
function readerOf(bytes: number) {
  let nowMs = 0;
  const sleeping: { readonly untilMs: number; readonly wake: () => void }[] = [];
  const clock: Clock = {
    now: () => nowMs,
    sleep: (ms) => new Promise((wake) => sleeping.push({ untilMs: nowMs + ms, wake })),
  };
  const sent: string[] = [];
  const dashboards = {
    log: async (_: string, { metadata }: RayJobObject) => {
      sent.push(`${metadata.uid}`);
      return Buffer.alloc(bytes);
    },
  } as unknown as Dashboards;
  return {
    sent,
    reader: new LogReader(dashboards, clock),
    pass: async (ms: number) => {
      nowMs += ms;
      for (const { untilMs, wake } of sleeping) if (untilMs <= nowMs) wake();
      await Promise.resolve();
      await Promise.resolve();
    },
  };
}

test('a log is sent once for the pieces of a moment, and forgotten after it', async () => {
  const { reader, sent, pass } = readerOf(1_000);
  const read = () => reader.read('n', job(), 0, 100, signal);
  expect((await read()).length).toBe(100);
  await read();
  expect([sent.length, reader.keptBytes]).toEqual([1, 1_000]);
  await pass(2_000);
  expect(reader.keptBytes).toBe(0);
  await read();
  await pass(1_000);
  // The end of an earlier keeping ends no later one.
  expect([sent.length, reader.keptBytes]).toEqual([2, 1_000]);
  reader.close();
  expect(reader.keptBytes).toBe(0);
});

test('of many long logs no more is kept than the limit', async () => {
  const { reader, sent } = readerOf(60 * MIB);
  for (const uid of ['a', 'b', 'c']) await reader.read('n', job(uid), 0, 100, signal);
  expect(reader.keptBytes).toBe(120 * MIB);
  await reader.read('n', job('c'), 0, 100, signal);
  await reader.read('n', job('a'), 0, 100, signal);
  expect(sent).toEqual(['a', 'b', 'c', 'a']);
});
