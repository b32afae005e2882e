/**
 * Archives the report log in a process of its own, until nothing is left: `archiver-child.ts ENGINE_URL EPOCH S3_URL BUCKET MAX_BYTES STAND_AT`.
 * It changes something in this order: a segment, its marks, its manifest, its row. Before the change of number STAND_AT, or behind it at
 * `.5`, it says `standing` and does nothing more: whoever started it kills it there. At its end it says `done`.
 */
import { systemClock } from '../../platform/clock.ts';
import { openPostgresEventLog } from '../../platform/event-log-postgres.ts';
import { openS3ObjectStore } from '../../platform/object-store/s3.ts';
import { type Database, openDatabase } from '../../platform/postgres.ts';
import { Archiver } from '../../scoring/archive/archiver.ts';
import { NO_ARCHIVE_METRICS } from '../../scoring/archive/context.ts';
import { storeConfig } from './versitygw-store.ts';

const [engineUrl, epoch, s3Url, bucket, maxBytes, standAt] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
  string,
];
const db = openDatabase({ appUrl: engineUrl, engineUrl, maxConnections: 4 });
const s3 = await openS3ObjectStore(storeConfig(s3Url, bucket));
const eventLog = openPostgresEventLog({ db, appendAs: 'engine' });

let changes = 0;
async function change<T>(work: () => Promise<T>): Promise<T> {
  const number = changes++;
  if (number === Number(standAt)) await stand();
  const result = await work();
  if (number + 0.5 === Number(standAt)) await stand();
  return result;
}

async function stand(): Promise<never> {
  console.log('standing');
  return new Promise(() => setInterval(() => {}, 60_000));
}

const asLeader: Database['asLeader'] = (leads, work) => change(() => db.asLeader(leads, work));
const archiver = new Archiver(
  {
    db: { ...db, asLeader },
    epoch: BigInt(epoch),
    clock: systemClock,
    eventLog,
    log: { info: () => {}, warn: () => {}, error: () => {} },
    store: { ...s3, put: (...asked) => change(() => s3.put(...asked)) },
    policy: { segmentAgeMs: 0, keepMs: null, logKeepMs: null },
    metrics: NO_ARCHIVE_METRICS,
  },
  { maxSegmentBytes: Number(maxBytes) },
);
while (await archiver.archive(new AbortController().signal));
console.log('done');
await eventLog.close();
await db.close();
process.exit(0);
