import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { suiteChecksum } from '../../scoring/read/checksum.ts';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import {
  appendRouted,
  appendTo,
  closers,
  drainAll,
  dying,
  lineOf,
  READERS,
  Reader,
  raisePartitions,
  random,
  reportOf,
  suiteOf,
} from './ingest-readers.ts';
import {
  EPOCH_MS,
  type Harness,
  harness,
  newTenant,
  referenceChecksum,
  register,
  type TestReport,
} from './scoring-online-support.ts';

/** MERIT_PROOFS=whole: more of them. */
const SEEDS = process.env.MERIT_PROOFS === 'whole' ? Array.from({ length: 25 }, (_, i) => i + 1) : [1, 2, 3];
const REPORTS = 120;
const END_MS = EPOCH_MS + 4 * 3_600_000;
const LEASE_MS = 40;
const SUITES = [suiteOf('left'), suiteOf('right')] as const;

let base: TestDatabase;
let h: Harness;

beforeAll(async () => {
  base = await testDatabase();
  h = await harness(base);
});
afterAll(async () => {
  await h.log.close();
  await base.close();
});

interface Sent {
  /** In the order of their making, as often as they were sent. */
  readonly lines: readonly string[];
  readonly reports: readonly TestReport[];
  readonly duplicates: number;
  readonly conflicts: number;
  readonly poison: number;
}

/** A tenth of them twice, some of them spoilt, some that say another thing under a name that is taken. */
function makeLines(seed: number): Sent {
  const next = random(seed);
  const reports = Array.from({ length: REPORTS }, (_, i) => reportOf(SUITES[i % 2]!.name, i, next));
  const lines: string[] = [];
  let [duplicates, conflicts, poison] = [0, 0, 0];
  for (const [i, report] of reports.entries()) {
    lines.push(lineOf(report));
    if (next() < 0.15) {
      const again = reports[Math.floor(next() * (i + 1))]!;
      lines.push(lineOf(again));
      duplicates++;
    }
    if (next() < 0.05) {
      // In the line behind it, so that which of them is the first does not hang on who reads what.
      lines[lines.lastIndexOf(lineOf(report))] += lineOf({ ...report, metrics: { accuracy: 0.123 } });
      conflicts++;
    }
    if (next() < 0.08) {
      lines.push('{"schemaVersion":1,\n');
      poison++;
    }
  }
  return { lines, reports, duplicates, conflicts, poison };
}

async function counted(tenant: string) {
  const rows = await base.db.asTenant(tenant, (tx) =>
    tx.query<{ accepted: string; duplicates: string; conflicts: string; quarantined: string }>(
      `select sum(accepted)::text as accepted, sum(duplicates)::text as duplicates, sum(conflicts)::text as conflicts,
         sum(quarantined)::text as quarantined from input_counters`,
    ),
  );
  const { accepted, duplicates, conflicts, quarantined } = rows[0]!;
  return {
    accepted: Number(accepted),
    duplicates: Number(duplicates),
    conflicts: Number(conflicts),
    quarantined: Number(quarantined),
  };
}

describe('several readers', () => {
  test.each(SEEDS)(
    'come to what the pure rules say, whatever dies, moves and lies astray (seed %i)',
    async (seed) => {
      const tenant = `many-${seed}`;
      const by = await newTenant(base, tenant);
      for (const suite of SUITES) await register(base.db, by, suite, ['ranker-v1', 'ranker-v2']);
      const next = random(seed * 7919);
      let partitions = (await h.log.partitions('merit.reports')).length;
      const readers = Array.from(
        { length: READERS },
        (_, i) =>
          new Reader(h, `${tenant}-${i}`, { leaseMs: LEASE_MS, maxFlushLines: 7 }, (ctx) => dying(ctx, next, 0.04)),
      );
      const sent = makeLines(seed);
      const raises = seed % 2 === 1;
      try {
        let at = 0;
        while (at < sent.lines.length) {
          const some = sent.lines.slice(at, at + 1 + Math.floor(next() * 12));
          at += some.length;
          if (next() < 0.5) await appendRouted(h.log, tenant, some.join(''));
          else await appendTo(h.log, tenant, Math.floor(next() * partitions), some.join(''));
          for (const reader of readers) if (next() < 0.7) await reader.step();
          if (next() < 0.06) readers[Math.floor(next() * READERS)]!.die();
          if (next() < 0.1) await pause(LEASE_MS);
          if (raises && next() < 0.05 && partitions < 6) await raisePartitions(base.db, ++partitions);
          h.clock.pass(1_000);
        }
        const ends = SUITES.flatMap((suite) => closers(tenant, suite.name, partitions, END_MS));
        await appendRouted(h.log, tenant, ends.map(lineOf).join(''));
        await pause(LEASE_MS * 2);
        await drainAll(h, readers);
        for (const suite of SUITES) {
          const own = [...sent.reports, ...ends].filter((report) => report.suite === suite.name);
          const found = await base.db.asTenant(tenant, (tx) => suiteChecksum(tx, tenant, suite.name));
          expect(found).toBe(referenceChecksum(suite, own));
        }
        const { duplicates, ...counts } = await counted(tenant);
        const { conflicts, poison } = sent;
        expect(counts).toEqual({ accepted: REPORTS + ends.length, conflicts, quarantined: poison });
        // A line that was sent on twice, by way of two layouts, counts as the duplicate that it is.
        if (raises) expect(duplicates).toBeGreaterThanOrEqual(sent.duplicates);
        else expect(duplicates).toBe(sent.duplicates);
      } finally {
        for (const reader of readers) await reader.close();
      }
    },
    120_000,
  );
});
