import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { EventLog, LogMessage } from '../../platform/event-log.ts';
import { createTopic, openPostgresEventLog } from '../../platform/event-log-postgres.ts';
import { openS3ObjectStore } from '../../platform/object-store/s3.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { archivedLog } from '../../scoring/archive/archived-log.ts';
import { verifyArchive } from '../../scoring/archive/verify-archive.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { currentEpoch, random } from '../integration/scoring-online-support.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { clientOf, newBucket, storeConfig, useCredentials } from '../support/versitygw-store.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { type VersitygwFacts, versitygw } from './versitygw.ts';

const CHILD = fileURLToPath(new URL('../support/archiver-child.ts', import.meta.url));
const PLACE = { topic: REPORTS_TOPIC, generation: 'embedded', partition: 0 };
const MESSAGES = 60;
const missing = partMissing(versitygw);

describe.skipIf(missing !== undefined)(`the archive in S3${missing === undefined ? '' : ` (${missing})`}`, () => {
  let facts: VersitygwFacts;
  let s3: S3Client;
  let bucket: string;
  let store: ObjectStore;
  let t: TestDatabase;
  let log: EventLog;
  let epoch: bigint;
  let expected: readonly LogMessage[];

  beforeAll(async () => {
    facts = await sharedPart(versitygw);
    useCredentials(facts);
    s3 = clientOf(facts.url);
    t = await testDatabase();
    epoch = await currentEpoch(t.db);
    log = openPostgresEventLog({ db: t.db, appendAs: 'engine' });
    await t.db.asEngine(async (tx) => {
      await tx.execute("insert into tenants (tenant) values ('acme')");
      await createTopic(tx, REPORTS_TOPIC, 1);
    });
    const next = random(1);
    for (let i = 0; i < MESSAGES; i++) {
      const value = Buffer.from(`${'x'.repeat(Math.floor(next() * 100))}\n${i}\n`);
      await log.append({ tenant: 'acme', topic: REPORTS_TOPIC, key: 'k', value, headers: {} });
    }
    expected = await log.read(REPORTS_TOPIC, 0, 0n, 200, 1e9);
  });
  afterAll(async () => {
    await log?.close();
    await t?.close();
  });
  beforeEach(async () => {
    await asAdmin(t.urls.admin, 'truncate archive_segments, consumer_offsets');
    bucket = await newBucket(s3);
    store = await openS3ObjectStore(storeConfig(facts.url, bucket));
  });

  const consumed = (offset: number) =>
    asAdmin(
      t.urls.admin,
      `delete from consumer_offsets;
       insert into consumer_offsets (topic, partition, next_offset, next_line, appended_at_ms) values ('${REPORTS_TOPIC}', 0, ${offset}, 0, 0)`,
    );
  const start = (maxBytes: number, standAt: number | string = 'never'): ChildProcess =>
    spawn(
      process.execPath,
      [
        '--conditions=merit-source',
        CHILD,
        t.urls.engine,
        String(epoch),
        facts.url,
        bucket,
        String(maxBytes),
        String(standAt),
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
  const said = async (child: ChildProcess): Promise<string> => {
    const [chunk] = (await once(child.stdout!, 'data')) as [Buffer];
    return chunk.toString().trim();
  };
  const ended = async (child: ChildProcess) => {
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    return child.exitCode;
  };

  async function expectWhole(): Promise<void> {
    const source = archivedLog({ db: t.db, store, eventLog: { ...log, read: async () => [] }, prefer: 'archive' });
    const messages: LogMessage[] = [];
    for (;;) {
      const more = await source.read(REPORTS_TOPIC, 0, BigInt(messages.length), 50, 1e6);
      if (more.length === 0) break;
      messages.push(...more);
    }
    expect(messages).toEqual(expected);
    const objects: string[] = [];
    for await (const { key } of store.list('archive/')) objects.push(key);
    const rows = await asAdmin(t.urls.admin, 'select count(*)::int as n from archive_segments');
    expect(objects).toHaveLength(3 * Number(rows[0]!.n));
    const { fault } = await check();
    expect(fault).toBeNull();
  }
  const check = () =>
    verifyArchive(t.db, store, PLACE, { from: 0n, to: BigInt(MESSAGES) }, new AbortController().signal);

  test.each([0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4.5, 6.5])(
    'an archiver that is killed at step %f leaves what the next one takes up: no segment twice, none lost',
    async (at) => {
      await consumed(40);
      const first = start(1_000, at);
      expect(await said(first)).toBe('standing');
      first.kill('SIGKILL');
      await ended(first);
      // The next one finds more, and would have cut elsewhere.
      await consumed(MESSAGES);
      const second = start(700);
      expect(await said(second)).toBe('done');
      expect(await ended(second)).toBe(0);
      await expectWhole();
    },
  );

  test('two archivers at once never both have a stretch, wherever each would have cut it', async () => {
    for (const offset of [20, 40, MESSAGES]) {
      await consumed(offset);
      const both = [start(600), start(900)];
      await Promise.all(both.map(ended));
    }
    const last = start(700);
    expect(await ended(last)).toBe(0);
    await expectWhole();
  });

  test('a segment whose bytes changed where they lie, or that is gone, is found', async () => {
    await consumed(MESSAGES);
    await ended(start(1_000));
    await expectWhole();
    const key = 'archive/merit.reports/embedded/0/0000000000000000000.zst';
    const path = join(facts.dir, bucket, 'prod', key);
    const bytes = await readFile(path);
    const changed = Buffer.from(bytes);
    changed[30] = changed[30]! ^ 1;
    await writeFile(path, changed);
    expect((await check()).fault).toMatchObject({ object: key });
    await writeFile(path, bytes);
    expect((await check()).fault).toBeNull();
    await rm(path);
    expect((await check()).fault).toMatchObject({ object: key, problem: 'the segment is missing' });
  });
});
