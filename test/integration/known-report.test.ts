import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type EvalReport, readEvalReport } from '../../core/eval-report.ts';
import { type DedupEntry, dedupEntry, packBlock, shardOf } from '../../scoring/ingest/dedup-index.ts';
import { addDedupBlocks } from '../../scoring/ingest/effects.sql.ts';
import { knownReport } from '../../scoring/read/known-report.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';

let t: TestDatabase;
beforeAll(async () => {
  t = await testDatabase();
  await asAdmin(t.urls.admin, "insert into tenants (tenant) values ('acme'), ('globex')");
});
afterAll(() => t.close());

const AT_MS = Date.parse('2026-11-26T10:00:00Z');

function report(reportId: string, accuracy = 0.5): EvalReport {
  const document = {
    schemaVersion: 1,
    reportId,
    producer: 'ci',
    model: 'm',
    suite: 's',
    observedAt: new Date(AT_MS).toISOString(),
    metrics: { accuracy },
  };
  const reading = readEvalReport(Buffer.from(JSON.stringify(document)));
  if (!reading.ok) throw new Error('a report that is none');
  return reading.report;
}

/** Others of the same shard. */
function neighbours(shard: number, count: number, salt: string): readonly DedupEntry[] {
  return Array.from({ length: count }, (_, i) => {
    const digest = createHash('sha256').update(`${salt} ${i}`).digest();
    const key = createHash('md5').update(digest).digest();
    key[0] = (key[0]! & 0xe0) | shard;
    return { key, digest, observedAtMs: AT_MS };
  });
}

async function store(tenant: string, entries: readonly DedupEntry[]): Promise<void> {
  const block = packBlock(entries);
  const shard = shardOf(entries[0]!.key);
  const blocks = [{ tenant, suite: 's', shard, newestObservedMs: AT_MS, entries: entries.length, block }];
  await t.db.asEngine((tx) => addDedupBlocks(tx, 'reports', 0, blocks));
}

const ask = (tenant: string, one: EvalReport) => t.db.asTenant(tenant, (tx) => knownReport(tx, tenant, one));

describe('whether a report is known', () => {
  test.each([1, 2, 16, 17, 700])('is found in a block of %i', async (size) => {
    const one = report(`of-${size}`);
    const entry = dedupEntry('acme', one);
    expect(await ask('acme', one)).toBe('new');
    await store('acme', [entry, ...neighbours(shardOf(entry.key), size - 1, `beside ${size}`)]);
    expect(await ask('acme', one)).toBe('same');
    expect(await ask('acme', report(`of-${size}`, 0.6))).toBe('other');
    expect(await ask('acme', report(`not-of-${size}`))).toBe('new');
  });

  test.each([3, 40])('is the tenant’s own matter, in a block of %i', async (size) => {
    const one = report(`apart-${size}`);
    // Under the key that the other tenant would ask by.
    const entry = dedupEntry('globex', one);
    await store('acme', [entry, ...neighbours(shardOf(entry.key), size - 1, `apart ${size}`)]);
    expect(await ask('globex', one)).toBe('new');
  });

  test.each([4, 50])('is not told by bytes that are no key, in a block of %i', async (size) => {
    const hidden = dedupEntry('acme', report(`hidden-${size}`));
    const [first, ...others] = neighbours(shardOf(hidden.key), size, `hidden ${size}`);
    // Its key, as the beginning of another's digest, which sorts ahead of it.
    const key = Buffer.from(first!.key);
    key[0] = shardOf(hidden.key);
    key.fill(0, 1, 8);
    const posing = { ...first!, key, digest: Buffer.concat([hidden.key, first!.digest.subarray(16)]) };
    await store('acme', [posing, ...others]);
    expect(await ask('acme', report(`hidden-${size}`))).toBe('new');
    await store('acme', [posing, hidden, ...others.slice(1)]);
    expect(await ask('acme', report(`hidden-${size}`))).toBe('same');
  });
});
