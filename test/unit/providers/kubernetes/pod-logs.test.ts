import { expect, test } from 'vitest';
import type { Ask, Cluster } from '../../../../providers/kubernetes/cluster.ts';
import type { Pod } from '../../../../providers/kubernetes/pod.ts';
import { PodLogs } from '../../../../providers/kubernetes/pod-logs.ts';
import { StampedLog } from '../../../support/kubernetes/stamped-log.ts';

const POD: Pod = { metadata: { name: 'p', namespace: 'n', uid: 'u' }, spec: { containers: [{ name: 'job' }] } };
const signal = AbortSignal.timeout(60_000);

/** A cluster whose one pod has this log, with what it was asked for. */
function logOf(readBytes?: number) {
  let nowMs = Date.UTC(2027, 0, 1);
  const log = new StampedLog(() => nowMs);
  const asked: (string | undefined)[] = [];
  const cluster = {
    bytes: async ({ query = {} }: Ask, limitBytes: number) => {
      const since = query.sinceTime as string | undefined;
      asked.push(since);
      return log.read({ stamps: true, limitBytes, ...(since === undefined ? {} : { sinceMs: Date.parse(since) }) });
    },
  };
  return {
    asked,
    logs: new PodLogs(cluster as unknown as Cluster, readBytes),
    write: (text: string, laterMs = 0) => {
      nowMs += laterMs;
      log.append(Buffer.from(text));
    },
  };
}

test('a log is read from any byte, and on from where the last reading ended', async () => {
  const { logs, write, asked } = logOf();
  write('one\ntwo\n');
  write('grün €', 1_500);
  const whole = Buffer.from('one\ntwo\ngrün €');
  for (let at = 0; at <= whole.length; at++)
    expect(Buffer.from(await logs.read(POD, at, 3, signal))).toEqual(whole.subarray(at, at + 3));
  // Only what is of the last second is asked for again.
  expect(asked.at(-1)).toBe('2027-01-01T00:00:01Z');
  write(' goes on\nthree\n', 700);
  write('four', 5_000);
  const more = Buffer.from(' goes on\nthree\nfour');
  expect(Buffer.from(await logs.read(POD, whole.length, 1_000, signal))).toEqual(more);
  expect(Buffer.from(await logs.read(POD, 0, 1_000, signal))).toEqual(Buffer.concat([whole, more]));
  expect(await logs.length(POD, signal)).toBe(whole.length + more.length);
});

test('a log larger than one reading is read in pieces that fit together, also where one second has more than that', async () => {
  const { logs, write } = logOf(1_000);
  const line = `${'x'.repeat(99)}\n`;
  const block = line.repeat(100);
  write(block);
  for (let i = 0; i < 4; i++) write(line.repeat(3), 1_000);
  write('end', 1_000);
  const whole = Buffer.from(`${block}${line.repeat(12)}end`);
  const parts: Uint8Array[] = [];
  for (let at = 0; ; ) {
    const part = await logs.read(POD, at, 700, signal);
    if (part.length === 0) break;
    parts.push(part);
    at += part.length;
  }
  expect(Buffer.concat(parts).equals(whole)).toBe(true);
});
