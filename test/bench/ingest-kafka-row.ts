import type { EventLog } from '../../platform/event-log.ts';
import { openKafkaEventLog } from '../../platform/kafka/event-log.ts';
import { openPlatformaticClient } from '../../platform/kafka/platformatic.ts';
import { ensureKafkaTopic } from '../../platform/kafka/topic.ts';
import { openRecord } from '../../scoring/ingest/open-record.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { kafka } from '../parts/kafka.ts';
import { openKafkaBroker } from '../support/kafka-broker.ts';
import { startBenchPostgres, TENANT } from './database.ts';
import { World } from './durable-row.ts';
import { each, median, type Row, ratioOf, row, takeTurns } from './harness.ts';
import { rowTables } from './peers/row-copy.ts';

/**
 * Kafka → durable scores: the topic read to its end by the consumer as it runs in a server. Beside it the same client that only reads, and the same
 * client with our kernel and a row a report. CPU of this process with its threads, and of every process of Postgres; the broker's is not on the bill.
 */

/** MERIT_BENCH=small: to see that it runs; its figures say little. */
const { REPORTS, ROUNDS, SMALL, BACKLOG_ROUNDS } =
  process.env.MERIT_BENCH === 'small'
    ? { REPORTS: 5_000, ROUNDS: 1, SMALL: 300, BACKLOG_ROUNDS: 1 }
    : { REPORTS: 50_000, ROUNDS: 7, SMALL: 10_000, BACKLOG_ROUNDS: 3 };
const LARGE = 100 * SMALL;
/** One row a report with dedup: as the durable row asks. */
const FLOOR = 5;
const AIM = 10;
const COMMAND = 'npm run bench -- ingest-kafka';

export async function ingestKafkaRows(): Promise<readonly Row[]> {
  const missing = kafka.missing();
  if (missing !== undefined) {
    const what = 'Kafka → durable scores against a row a report by COPY, dedup kept';
    return [row({ what, value: null, floor: FLOOR, aim: AIM, detail: missing, command: COMMAND })];
  }
  const broker = await openKafkaBroker();
  const postgres = await startBenchPostgres();
  const logs: EventLog[] = [];
  const open = async (prefix: string, reports: number) => {
    const client = await openPlatformaticClient({
      clientId: 'bench',
      brokers: [broker.facts.plain],
      tls: undefined,
      sasl: undefined,
    });
    await ensureKafkaTopic(client, { name: `${prefix}${REPORTS_TOPIC}`, partitions: 1, replicas: 1 });
    const log = openKafkaEventLog({ client, prefix, tenant: TENANT, group: 'bench', open: openRecord });
    logs.push(log);
    return World.open(postgres, await postgres.database({ more: rowTables }), reports, log);
  };
  try {
    const rows = [...(await againstOthers(await open('some.', REPORTS)))];
    return [...rows, await byBacklog(await open('small.', SMALL), await open('large.', LARGE))];
  } finally {
    await postgres.stop();
    for (const log of logs) await log.close().catch(() => {});
    await broker.close();
  }
}

async function againstOthers(world: World): Promise<readonly Row[]> {
  const times = await takeTurns(
    [
      { name: 'ours', pass: () => world.cpu(() => world.consume()) },
      { name: 'rows', pass: () => world.cpu(() => world.copyRows('unique')) },
      { name: 'bare', pass: () => world.cpu(() => world.readBare()) },
    ],
    ROUNDS,
    1,
  );
  await world.close();
  const figure = (name: string) => each(median(times.get(name)!), world.reports);
  return [
    row({
      what: 'Kafka → durable scores against a row a report by COPY, dedup kept',
      value: ratioOf(times, 'ours', 'rows'),
      floor: FLOOR,
      aim: AIM,
      detail: `the consumer ${figure('ours')} a report; the same client, our kernel and COPY BINARY into a keyed table ${figure('rows')}`,
      limit: 'as of the durable row; the client that reads is a tenth of ours',
      command: COMMAND,
    }),
    row({
      what: 'Kafka → durable scores against the same client that only reads',
      value: ratioOf(times, 'bare', 'ours'),
      sense: 'at most',
      floor: null,
      aim: null,
      detail: `bare ${figure('bare')} a report in messages of about 256 KiB`,
      command: COMMAND,
    }),
  ];
}

/** What a report costs where a hundred times as many wait. */
async function byBacklog(small: World, large: World): Promise<Row> {
  const times = await takeTurns(
    [
      { name: 'small', pass: () => small.cpu(() => small.consume()) },
      { name: 'large', pass: () => large.cpu(() => large.consume()) },
    ],
    BACKLOG_ROUNDS,
    1,
  );
  await small.close();
  await large.close();
  return row({
    what: 'a report’s cost where a hundred times as many wait',
    value: ratioOf(times, 'small', 'large') / (LARGE / SMALL),
    sense: 'at most',
    floor: 1.25,
    aim: 1,
    detail: `of ${SMALL} ${each(median(times.get('small')!), SMALL)} a report, of ${LARGE} ${each(median(times.get('large')!), LARGE)}`,
    command: COMMAND,
  });
}
