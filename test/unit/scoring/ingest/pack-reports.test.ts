import { describe, expect, test } from 'vitest';
import { sha256Hex } from '../../../../core/canonical.ts';
import { MAX_LINE_BYTES } from '../../../../core/ndjson.ts';
import { MAX_MESSAGE_BYTES, PACK_MESSAGE_BYTES } from '../../../../platform/event-log.ts';
import { shardOf } from '../../../../scoring/ingest/dedup-index.ts';
import { packReports, type ReportMessage } from '../../../../scoring/ingest/pack-reports.ts';
import { readLines } from '../../../../scoring/ingest/read-lines.ts';
import { partitionOfShard } from '../../../../scoring/ingest/shards.ts';

const source = {
  tenant: 'acme',
  producer: 'ci',
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
};
const FRESH = 'f'.repeat(32);

function chunked(text: string, size: number): Uint8Array[] {
  const bytes = Buffer.from(text);
  const chunks: Uint8Array[] = [];
  for (let from = 0; from < bytes.length; from += size) chunks.push(bytes.subarray(from, from + size));
  return chunks;
}

async function pack(text: string, size = 1 << 20): Promise<ReportMessage[]> {
  return Array.fromAsync(packReports(chunked(text, size), source));
}

function read(messages: readonly ReportMessage[]) {
  return messages.flatMap((message, i) =>
    readLines({ ...message, partition: 0, offset: BigInt(i), appendedAtMs: 0 }, 0, FRESH),
  );
}

const line = (i: number, pad = 0) =>
  JSON.stringify({
    schemaVersion: 1,
    reportId: `r-${i}`,
    producer: 'ci',
    model: 'm',
    suite: 's',
    observedAt: '2026-01-05T09:00:00Z',
    metrics: { a: 0.5 },
    labels: { pad: 'x'.repeat(pad) },
  });

describe('packed reports', () => {
  test('any chunking gives the same lines with their numbers in the upload, blank lines counted', async () => {
    const text = `\n${line(1)}\n\n  \r\n${line(2)}\r\n${line(3)}`;
    for (const size of [1, 7, 64, 1 << 20]) {
      const lines = read(await pack(text, size));
      expect(lines.map((one) => one.uploadLine)).toEqual([2, 5, 6]);
      expect(lines.map((one) => JSON.parse(Buffer.from(one.raw).toString()).reportId)).toEqual(['r-1', 'r-2', 'r-3']);
      expect(lines.map((one) => one.traceId)).toEqual(Array(3).fill('0af7651916cd43dd8448eb211c80319c'));
    }
  });

  test('messages hold whole lines, near the packing size and never above the log’s limit', async () => {
    const text = Array.from({ length: 2000 }, (_, i) => line(i, 400)).join('\n');
    const messages = await pack(text, 4096);
    expect(messages.length).toBeGreaterThan(3);
    for (const message of messages.slice(0, -1)) {
      expect(message.value!.length).toBeGreaterThan(PACK_MESSAGE_BYTES - 1000);
      expect(message.value!.length).toBeLessThanOrEqual(PACK_MESSAGE_BYTES + 1000);
    }
    expect(read(messages).map((one) => one.uploadLine)).toEqual(Array.from({ length: 2000 }, (_, i) => i + 1));
  });

  test('the longest line allowed fits into a message, one byte more is cut to its hash, size and first KiB', async () => {
    const fits = 'a'.repeat(MAX_LINE_BYTES);
    const over = 'b'.repeat(MAX_LINE_BYTES + 1);
    const messages = await pack(`${line(1)}\n${fits}\n${over}\n${line(2)}\n`, 65_536);
    for (const message of messages) expect(message.value!.length).toBeLessThanOrEqual(MAX_MESSAGE_BYTES);
    const lines = read(messages);
    expect(lines.map((one) => (one.reading.ok ? 'ok' : one.reading.aside.code))).toEqual([
      'ok',
      'json_syntax',
      'too_large',
      'ok',
    ]);
    expect(lines.map((one) => one.uploadLine)).toEqual([1, 2, 3, 4]);
    expect(lines[2]).toMatchObject({ rawSize: MAX_LINE_BYTES + 1, rawSha256: sha256Hex(over) });
    expect(lines[2]!.raw.length).toBe(1024);
  });

  test('an upload of nothing but blank lines makes no message', async () => {
    expect(await pack('\n \n\r\n')).toEqual([]);
    expect(await pack('')).toEqual([]);
  });
});

describe('reports for several partitions', () => {
  const packed = async (text: string, partitions: number) =>
    Array.fromAsync(packReports(chunked(text, 1000), source, partitions));

  test('lie where they are served, each with its number in the upload', async () => {
    const lines = Array.from({ length: 600 }, (_, i) => (i % 7 === 3 ? '' : line(i)));
    const messages = await packed(lines.join('\n'), 5);
    const found = messages.flatMap((message) =>
      read([message]).map((one) => ({ ...one, partition: message.partition })),
    );
    for (const { partition, reading } of found) {
      if (!reading.ok) throw new Error('a good line was broken');
      expect(partition).toBe(partitionOfShard(shardOf(reading.report.entry.key), 5));
    }
    expect(found.map((one) => one.uploadLine).sort((a, b) => a - b)).toEqual(
      lines.flatMap((text, i) => (text === '' ? [] : [i + 1])),
    );
    expect(new Set(messages.map((message) => message.partition)).size).toBe(5);
  });

  test('are all there also where their names are not easily found', async () => {
    const odd = [
      '{',
      'null',
      '{"reportId":7,"producer":"ci"}',
      line(1).replace('"reportId":"r-1"', '"reportId":"\\u0072-1"'),
      `{"labels":{"reportId":"r-9","producer":"x"},${line(2).slice(1)}`,
      '{"producer":"ci","reportId',
      '{"producer":"ci","reportId":"',
    ];
    const messages = await packed(odd.join('\n'), 3);
    const raws = read(messages).map((one) => Buffer.from(one.raw).toString());
    expect(raws.sort()).toEqual([...odd].sort());
  });

  test('take little memory, however many partitions there are', async () => {
    const text = Array.from({ length: 6000 }, (_, i) => line(i, 400)).join('\n');
    for (const message of await packed(text, 32)) expect(message.value!.length).toBeLessThanOrEqual(65_536 + 1000);
  });
});

describe('lines of a message', () => {
  test('read from the middle go on where the last flush stopped, and end at the next message', async () => {
    const [message] = await pack(`${line(1)}\n\n${line(2)}\n${line(3)}\n`);
    const at = { ...message!, partition: 0, offset: 9n, appendedAtMs: 0 };
    const all = readLines(at, 0, FRESH);
    expect(all.map((one) => one.next)).toEqual([
      { offset: 9n, line: 1 },
      { offset: 9n, line: 3 },
      { offset: 10n, line: 0 },
    ]);
    expect(readLines(at, 3, FRESH).map((one) => one.line)).toEqual([4]);
  });

  test('a line of another producer than the sender is set aside', async () => {
    const [message] = await pack(line(1));
    const forged = {
      ...message!,
      headers: { ...message!.headers, producer: 'job-x' },
      partition: 0,
      offset: 0n,
      appendedAtMs: 0,
    };
    expect(readLines(forged, 0, FRESH)[0]!.reading).toMatchObject({
      ok: false,
      aside: { code: 'producer_mismatch', field: 'producer' },
    });
  });
});

describe('the trace of a message', () => {
  test('is that of its header, and a fresh one where the header is malformed', async () => {
    const [message] = await pack(line(1));
    const traceOf = (traceparent: string) => {
      const at = { ...message!, headers: { traceparent }, partition: 0, offset: 0n, appendedAtMs: 0 };
      return readLines(at, 0, FRESH)[0]!.traceId;
    };
    expect(traceOf(source.traceparent)).toBe('0af7651916cd43dd8448eb211c80319c');
    for (const bad of ['', 'x', `00-${'0'.repeat(32)}-b7ad6b7169203331-01`, 'a'.repeat(10_000)])
      expect(traceOf(bad)).toBe(FRESH);
  });
});
