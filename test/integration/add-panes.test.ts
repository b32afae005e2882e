import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { MIGRATIONS_DIR, migrate } from '../../platform/migrate.ts';
import { addPaneDeltas } from '../../scoring/ingest/add-panes.sql.ts';
import { deltasOfPanes } from '../../scoring/ingest/pane-deltas.ts';
import { byteaArray, FieldWriter, int8WordsArray, integerArray, numericArray } from '../../scoring/ingest/pg-binary.ts';
import { ANY_METRIC, type Pane } from '../../scoring/rules/pane.ts';
import { PaneTable } from '../../scoring/rules/pane-table.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { onDatabase } from '../support/postgres.ts';
import { random } from './scoring-online-support.ts';

let t: TestDatabase;
beforeAll(async () => {
  t = await testDatabase();
  await asAdmin(t.urls.admin, "insert into tenants (tenant) values ('acme')");
});
afterAll(() => t.close());

const HASH = 'a'.repeat(64);
const START_MS = Date.UTC(2026, 10, 25);

function wordsOf(values: readonly bigint[], count: number): Uint32Array {
  return Uint32Array.from(
    values.flatMap((value) =>
      Array.from({ length: count }, (_, i) => Number(BigInt.asUintN(32, value >> (32n * BigInt(i))))),
    ),
  );
}

describe('binary values', () => {
  /** What Postgres makes of an array of ours, as text. */
  const echo = async (type: string, bytes: Buffer) => {
    const rows = await t.db.asEngine((tx) =>
      tx.query<{ texts: string[] }>(
        `select coalesce(array_agg(x::text order by i), '{}') as texts from unnest($1::${type}[]) with ordinality as a (x, i)`,
        [bytes],
      ),
    );
    return rows[0]!.texts;
  };
  const edges = [0n, 1n, 9_999n, 10_000n, 10n ** 8n, 10n ** 38n, 2n ** 32n, 2n ** 64n, 2n ** 96n, 2n ** 127n - 1n];
  const wide = fc.oneof(
    fc.bigInt({ min: -(2n ** 127n), max: 2n ** 127n - 1n }),
    fc.constantFrom(...edges, ...edges.map((value) => -value), -(2n ** 127n)),
    // Digits of zeros within and behind.
    fc
      .tuple(fc.bigInt({ min: -9999n, max: 9999n }), fc.integer({ min: 0, max: 33 }))
      .map(([a, b]) => a * 10n ** BigInt(b)),
  );

  test('numeric of 128 bits is the integer that Postgres reads from its text', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(wide, { minLength: 50, maxLength: 50 }), async (values) => {
        const words = wordsOf(values, 4);
        const writer = new FieldWriter();
        writer.arrayOf('numeric', values.length);
        for (let i = 0; i < values.length; i++) writer.numeric128(words, i * 4);
        const bytes = writer.take();
        expect(await echo('numeric', bytes)).toEqual(values.map(String));
        expect(numericArray(words, 4)).toEqual(bytes);
      }),
      { numRuns: 20 },
    );
  });

  test('64 bits are the same integer as numeric and as bigint', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { maxLength: 50 }), async (values) => {
        const words = wordsOf(values, 2);
        const [numeric, int8] = [new FieldWriter(16), new FieldWriter(16)];
        numeric.arrayOf('numeric', values.length);
        int8.arrayOf('int8', values.length);
        for (let i = 0; i < values.length; i++) {
          numeric.numeric64(words, i * 2);
          int8.int8Words(words, i * 2);
        }
        const [wide, narrow] = [numeric.take(), int8.take()];
        expect(await echo('numeric', wide)).toEqual(values.map(String));
        expect(await echo('bigint', narrow)).toEqual(values.map((value) => String(BigInt.asIntN(64, value))));
        expect([numericArray(words, 2), int8WordsArray(words)]).toEqual([wide, narrow]);
      }),
      { numRuns: 10 },
    );
  });

  test('bytes are themselves, empty ones too', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 5000 }), { maxLength: 5 }), async (values) => {
        const bytes = byteaArray(values);
        expect(await echo('bytea', bytes)).toEqual(values.map((value) => `\\x${Buffer.from(value).toString('hex')}`));
      }),
      { numRuns: 10 },
    );
  });

  test('small integers of either sign are themselves', async () => {
    const limit = Number.MAX_SAFE_INTEGER;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: -limit, max: limit }), { maxLength: 30 }), async (values) => {
        const words = values.map((value) => value | 0);
        const halves = values.map((value) => (value << 16) >> 16);
        expect(await echo('bigint', integerArray('int8', values))).toEqual(values.map(String));
        expect(await echo('integer', integerArray('int4', words))).toEqual(words.map(String));
        expect(await echo('smallint', integerArray('int2', halves))).toEqual(halves.map(String));
      }),
      { numRuns: 20 },
    );
  });
});

/** Panes with sums of any size, few enough keys that two draws share most of them. */
function drawPanes(seed: number, count: number): Pane[] {
  const next = random(seed);
  const table = new PaneTable(HASH);
  for (let i = 0; i < count; i++) {
    const metric = ['accuracy', 'loss', ANY_METRIC][Math.floor(next() * 3)]!;
    const q = Math.floor((next() - 0.5) * 2 ** 40);
    const w = BigInt(1 + Math.floor(next() * 2 ** 20));
    const sums =
      metric === ANY_METRIC
        ? { n: 1, weight: w, sumWq: 0n, sumWq2: 0n, min: 0, max: 0, buckets: [] }
        : {
            n: 1,
            weight: w,
            sumWq: w * BigInt(q),
            sumWq2: w * BigInt(q) * BigInt(q),
            min: q,
            max: q,
            buckets: [[Math.floor((next() - 0.5) * 12), 1] as const],
          };
    table.merge({
      suiteHash: HASH,
      model: `m${Math.floor(next() * 3)}`,
      metric,
      resolution: next() < 0.5 ? '1m' : '1h',
      paneStartMs: START_MS + Math.floor(next() * 3) * 3_600_000,
      sums,
    });
  }
  return table.rows();
}

function merged(parts: readonly (readonly Pane[])[]): Pane[] {
  const table = new PaneTable(HASH);
  for (const pane of parts.flat()) table.merge(pane);
  return table.rows();
}

/** Everything stored for a suite, in the form and order of PaneTable.rows(). */
async function stored(suite: string): Promise<Pane[]> {
  const rows = await t.db.asEngine((tx) =>
    tx.query<Record<string, string> & { buckets: [number, number][] }>(
      `select s.model, s.metric, p.resolution, p.start_ms, p.n, p.weight::text, p.sum_wq::text, p.sum_wq2::text, p.q_min, p.q_max,
              (select coalesce(json_agg(json_build_array(b.bucket, b.n) order by b.bucket), '[]') from pane_buckets b
               where (b.series_id, b.resolution, b.start_ms) = (p.series_id, p.resolution, p.start_ms)) as buckets
       from panes p join series s using (series_id) where s.suite = $1`,
      [suite],
    ),
  );
  const table = new PaneTable(HASH);
  for (const row of rows) {
    table.merge({
      suiteHash: HASH,
      model: row.model!,
      metric: row.metric!,
      resolution: Number(row.resolution) === 1 ? '1m' : '1h',
      paneStartMs: Number(row.start_ms),
      sums: {
        n: Number(row.n),
        weight: BigInt(row.weight!),
        sumWq: BigInt(row.sum_wq!),
        sumWq2: BigInt(row.sum_wq2!),
        min: Number(row.q_min),
        max: Number(row.q_max),
        buckets: row.buckets,
      },
    });
  }
  return table.rows();
}

const addAll = (suite: string, panes: readonly Pane[]) =>
  t.db.asEngine((tx) => addPaneDeltas(tx, 'acme', suite, deltasOfPanes(panes)!));

describe('pane deltas', () => {
  test('come to the sums of all of them, sketches too, whatever the flushes they came in', async () => {
    const parts = [1, 2, 3, 4, 5].map((seed) => drawPanes(seed, 40 * seed));
    for (const part of parts) await addAll('one-by-one', part);
    expect(await stored('one-by-one')).toEqual(merged(parts));
  });

  test('of transactions at once are all kept', async () => {
    await asAdmin(t.urls.admin, 'truncate series, panes, pane_sketches');
    const parts = Array.from({ length: 8 }, (_, i) => drawPanes(100 + i, 60));
    await Promise.all(parts.map((part) => addAll('at-once', part)));
    expect(await stored('at-once')).toEqual(merged(parts));
  });

  test('of a transaction that is rolled back leave nothing', async () => {
    const before = await stored('at-once');
    const failed = t.db.asEngine(async (tx) => {
      await addPaneDeltas(tx, 'acme', 'at-once', deltasOfPanes(drawPanes(7, 50))!);
      throw new Error('not this time');
    });
    await expect(failed).rejects.toThrow('not this time');
    expect(await stored('at-once')).toEqual(before);
  });
});

test('the migration packs the buckets that an older version stored', async () => {
  const { admin, owner } = inject('postgresUrls');
  const name = `older_${Math.random().toString(36).slice(2)}`;
  const dir = await mkdtemp(join(tmpdir(), 'merit-migrations-'));
  await asAdmin(admin, `create database ${name} owner merit_owner template template0`);
  try {
    const files = (await readdir(MIGRATIONS_DIR)).filter((file) => file < '0008');
    for (const file of files) await cp(join(MIGRATIONS_DIR, file), join(dir, file));
    await migrate({ ownerUrl: onDatabase(owner, name), dir });
    await asAdmin(
      onDatabase(admin, name),
      `insert into pane_buckets (series_id, tenant, resolution, start_ms, bucket, n)
       values (1, 'acme', 1, 0, 7, 2), (1, 'acme', 1, 0, -3, 5), (1, 'acme', 60, 0, 7, 2), (2, 'acme', 1, 60000, 0, 4294967296)`,
    );
    const before = await asAdmin(onDatabase(admin, name), 'select * from pane_buckets order by 1, 3, 4, 5');
    await migrate({ ownerUrl: onDatabase(owner, name) });
    expect(await asAdmin(onDatabase(admin, name), 'select * from pane_buckets order by 1, 3, 4, 5')).toEqual(before);
    expect(
      await asAdmin(
        onDatabase(admin, name),
        'select buckets, counts::text[] from pane_sketches order by series_id, resolution',
      ),
    ).toEqual([
      { buckets: [-3, 7], counts: ['5', '2'] },
      { buckets: [7], counts: ['2'] },
      { buckets: [0], counts: ['4294967296'] },
    ]);
  } finally {
    await asAdmin(admin, `drop database ${name} with (force)`);
    await rm(dir, { recursive: true });
  }
});
