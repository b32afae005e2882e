import { hasEnded, processHolder } from '../../api/roles/holder.ts';
import { systemClock } from '../../platform/clock.ts';
import { openKafkaEventLog } from '../../platform/kafka/event-log.ts';
import { openPlatformaticClient } from '../../platform/kafka/platformatic.ts';
import { type Database, openDatabase } from '../../platform/postgres.ts';
import { NO_METRICS } from '../../scoring/context.ts';
import { openRecord } from '../../scoring/ingest/open-record.ts';
import { ReaderThread } from '../../scoring/ingest/reader-thread.ts';
import { runConsumer } from '../../scoring/ingest/run-consumer.ts';

/**
 * A process that reads the report log on Kafka, as one of the role `ingest` does: `ingest-child.ts '{"appUrl":…,"engineUrl":…,"broker":…,
 * "tenant":…,"group":…}'`. A line `freeze` on stdin has it stop itself (SIGSTOP) inside its next transaction that is fenced, just before the commit, of which
 * it tells by a line `frozen`.
 */
const given = JSON.parse(process.argv[2] ?? '{}') as Record<
  'appUrl' | 'engineUrl' | 'broker' | 'tenant' | 'group',
  string
>;
const { appUrl, engineUrl } = given;
const opened = openDatabase({ appUrl, engineUrl, maxConnections: 6 });
let freezes = false;
process.stdin.on('data', (data) => {
  if (String(data).includes('freeze')) freezes = true;
});
process.stdin.on('end', () => process.exit(0));
const asFenced: Database['asFenced'] = (fence, work) =>
  opened.asFenced(fence, async (tx) => {
    const done = await work(tx);
    if (freezes) {
      freezes = false;
      console.log('frozen');
      process.kill(process.pid, 'SIGSTOP');
    }
    return done;
  });
const db = { ...opened, asFenced };
const client = await openPlatformaticClient({
  clientId: 'ingest-child',
  brokers: [given.broker],
  tls: undefined,
  sasl: undefined,
});
const eventLog = openKafkaEventLog({ client, prefix: '', tenant: given.tenant, group: given.group, open: openRecord });
const say = (level: string) => (fields: object, message: string) =>
  process.stderr.write(`${JSON.stringify({ level, pid: process.pid, message, ...fields })}\n`);
const stop = new AbortController();
process.once('SIGTERM', () => stop.abort());
console.log('started');
await runConsumer(
  {
    db,
    holder: processHolder(),
    isGone: hasEnded,
    clock: systemClock,
    eventLog,
    reader: new ReaderThread(),
    signer: undefined as never,
    policy: () => Promise.reject(new Error('nobody is promoted here')),
    rollouts: false,
    metrics: NO_METRICS,
    log: { info: say('info'), warn: say('warn'), error: say('error') },
  },
  stop.signal,
);
process.exit(0);
