import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { reportKey } from '../../../../core/eval-report.ts';
import { OperatingError } from '../../../../core/operating-error.ts';
import {
  DEDUP_SHARDS,
  type DedupEntry,
  DedupIndex,
  ENTRY_BYTES,
  packBlock,
  shardOf,
  unpackBlock,
} from '../../../../scoring/ingest/dedup-index.ts';

function entry(i: number, content = i): DedupEntry {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return {
    key: digest(`key ${i}`).subarray(0, 16),
    digest: digest(`content ${content}`),
    observedAtMs: i * 1000 - 5000,
  };
}

describe('the dedup index', () => {
  test('tells a new report from the same one and from another one under its id, through many growths', () => {
    const index = new DedupIndex();
    for (let i = 0; i < 5000; i++) {
      const one = entry(i);
      expect(index.find(one.key, one.digest)).toBe('new');
      index.add(one.key, one.digest);
    }
    expect(index.size).toBe(5000);
    for (let i = 0; i < 5000; i++) {
      expect(index.find(entry(i).key, entry(i).digest)).toBe('same');
      expect(index.find(entry(i).key, entry(i, i + 1).digest)).toBe('other');
    }
    expect(index.find(entry(5000).key, entry(5000).digest)).toBe('new');
  });

  test('keeps the first content of an id', () => {
    const index = new DedupIndex();
    index.add(entry(1).key, entry(1).digest);
    index.add(entry(1).key, entry(1, 2).digest);
    expect(index.size).toBe(1);
    expect(index.find(entry(1).key, entry(1).digest)).toBe('same');
  });

  test('refuses to grow past its limit instead of taking all memory', () => {
    const index = new DedupIndex(3);
    for (let i = 0; i < 3; i++) index.add(entry(i).key, entry(i).digest);
    expect(() => index.add(entry(3).key, entry(3).digest)).toThrow(OperatingError);
    expect(() => index.add(entry(2).key, entry(2).digest)).not.toThrow();
  });
});

describe('a dedup block', () => {
  test('gives back its entries, and equal sets give equal bytes', () => {
    const entries = Array.from({ length: 50 }, (_, i) => entry(i));
    const block = packBlock(entries);
    expect(block.length).toBe(50 * ENTRY_BYTES);
    expect(packBlock([...entries].reverse()).equals(block)).toBe(true);
    const back = [...unpackBlock(block)].sort((a, b) => a.observedAtMs - b.observedAtMs);
    expect(back.map((one) => [one.key.toString('hex'), one.digest.toString('hex'), one.observedAtMs])).toEqual(
      entries.map((one) => [one.key.toString('hex'), one.digest.toString('hex'), one.observedAtMs]),
    );
  });
});

describe('the key of a report', () => {
  test('is the tenant’s, the producer’s and the id’s own', () => {
    const keys = [
      reportKey('a', { producer: 'p', reportId: 'r' }),
      reportKey('b', { producer: 'p', reportId: 'r' }),
      reportKey('a', { producer: 'q', reportId: 'r' }),
      reportKey('a', { producer: 'p', reportId: 's' }),
    ].map((key) => key.toString('hex'));
    expect(new Set(keys).size).toBe(4);
    expect(reportKey('a', { producer: 'p', reportId: 'r' }).toString('hex')).toBe(keys[0]);
    expect(keys.every((key) => shardOf(Buffer.from(key, 'hex')) < DEDUP_SHARDS)).toBe(true);
  });
});
