import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTopic } from '../../platform/event-log-postgres.ts';
import { openFileObjectStore } from '../../platform/object-store/files.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { reportMessage } from '../../scoring/ingest/pack-reports.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import type { Vector } from '../../scoring/ingest/vector.ts';
import { workOffOne } from '../../scoring/replay/replay-worker.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { dueToday, isWhole } from '../support/rotating.ts';
import { archiveAll, replay, replayContext } from './replay-support.ts';
import {
  EPOCH_MS,
  type Harness,
  harness,
  lineOf,
  newTenant,
  parseSuite,
  random,
  register,
} from './scoring-online-support.ts';

const PARTITIONS = 3;
const MESSAGES = 12;
const suite = parseSuite({
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'search',
  tick: '30m',
  minN: 3,
  metrics: {
    accuracy: { direction: 'higher', floor: 0, ceil: 1, valid: [0, 1], required: true },
    latency_ms: { direction: 'lower', kind: 'quantile', quantile: 0.9, floor: 1000, ceil: 100, valid: [0, 900] },
  },
});

let t: TestDatabase;
let h: Harness;
let root: string;
let store: ObjectStore;

/** Three partitions over the same three hours, each with repeats, rubbish, late reports, and lines that the suite refuses. */
beforeAll(async () => {
  t = await testDatabase();
  h = await harness(t);
  root = await mkdtemp(join(tmpdir(), 'merit-replay-'));
  store = await openFileObjectStore({ root });
  await t.db.asEngine((tx) => createTopic(tx, REPORTS_TOPIC, PARTITIONS));
  const by = await newTenant(t, 'acme');
  await register(t.db, by, suite, ['one', 'two']);
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const next = random(partition);
    for (let i = 0; i < MESSAGES; i++) {
      const lines = Array.from({ length: 6 }, (_, n) => {
        const lateMs = next() < 0.1 ? next() * 3_600_000 : 0;
        const report = {
          schemaVersion: 1,
          reportId: `r-${next() < 0.1 ? Math.max(0, i - 1) : i}-${n}`,
          producer: `p${partition}`,
          model: next() < 0.5 ? 'one' : 'two',
          suite: 'search',
          observedAt: new Date(EPOCH_MS + i * 14 * 60_000 + n * 60_000 - lateMs).toISOString(),
          sampleSize: 1 + Math.floor(next() * 9),
          metrics: { accuracy: next(), latency_ms: next() * 1000 },
        };
        return next() < 0.03 ? '{\n' : lineOf(report);
      });
      await h.log.append({
        ...reportMessage(Buffer.from(lines.join('')), {
          tenant: 'acme',
          producer: undefined,
          traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        }),
        partition,
      });
    }
  }
  await h.drain();
  await archiveAll(t, h, store, 5_000);
}, 60_000);
afterAll(async () => {
  await h.log.close();
  await t.close();
  await rm(root, { recursive: true });
});

/** Places on the way to the end, so that the partitions are read in another order, also from within messages. */
function stations(seed: number): readonly Vector[] {
  const next = random(seed);
  const at = Array.from({ length: PARTITIONS }, () => ({ offset: 0n, line: 0 }));
  return Array.from({ length: 8 }, () => {
    const partition = Math.floor(next() * PARTITIONS);
    const offset = at[partition]!.offset + BigInt(1 + Math.floor(next() * 4));
    at[partition] = {
      offset: offset > BigInt(MESSAGES - 1) ? BigInt(MESSAGES - 1) : offset,
      line: 1 + Math.floor(next() * 5),
    };
    return new Map(at.map((place, of) => [of, place]));
  });
}

test.each(dueToday(Array.from({ length: isWhole ? 20 : 5 }, (_, seed) => seed)))(
  'partitions read in whatever order come to one checksum and one digest, those that were live (%i)',
  async (seed) => {
    const ctx = replayContext(t, h, store);
    const { failure, result } = await replay(t, ctx, 'acme', {}, { stations: stations(seed) });
    expect(failure).toBeNull();
    expect(result).toMatchObject({ equal: true, first: null });
    expect(result!.scores.live).toBeGreaterThan(8);
    await asAdmin(t.urls.admin, 'update replays set cancel_wanted = true');
    await workOffOne(ctx, new AbortController().signal);
  },
);
