import type { EventLog } from '../../platform/event-log.ts';
import type { EventLogConfig, KafkaLogConfig } from '../../platform/event-log-config.ts';
import { createTopic, openPostgresEventLog } from '../../platform/event-log-postgres.ts';
import type { KafkaClient, KafkaConnection } from '../../platform/kafka/client.ts';
import { openKafkaCredentials } from '../../platform/kafka/credentials.ts';
import { type KafkaWatch, openKafkaEventLog } from '../../platform/kafka/event-log.ts';
import { ensureKafkaTopic } from '../../platform/kafka/topic.ts';
import type { DatabaseUrl } from '../../platform/pg-login.ts';
import type { Database } from '../../platform/postgres.ts';
import type { Log } from '../../scheduler/apply/context.ts';
import { openRecord } from '../../scoring/ingest/open-record.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { DOWNSTREAM_TOPICS } from './downstream.ts';

/** Of what others read, in the embedded log. */
const DOWNSTREAM_PARTITIONS = 1;

export interface ServerLogOptions {
  readonly config: EventLogConfig;
  /** Of the embedded log. */
  readonly reportPartitions: number;
  /** The server's: whose reports a log on Kafka holds, beside those of the tenants that it names. */
  readonly tenant: string;
  readonly db: Database;
  readonly engineUrl: DatabaseUrl;
  readonly watch: KafkaWatch;
  readonly log: Log;
}

/** The report log that the configuration names, with its topic. */
export async function openServerLog(options: ServerLogOptions): Promise<EventLog> {
  const { config, db, reportPartitions } = options;
  if (config.kind === 'kafka') return openKafka(config, options);
  await db.asEngine(async (tx) => {
    await createTopic(tx, REPORTS_TOPIC, reportPartitions);
    for (const topic of DOWNSTREAM_TOPICS) await createTopic(tx, topic, DOWNSTREAM_PARTITIONS);
  });
  return openPostgresEventLog({ db, listenUrl: options.engineUrl, appendAs: 'engine' });
}

async function openKafka(config: KafkaLogConfig, { tenant, watch, log }: ServerLogOptions): Promise<EventLog> {
  const credentials = await openKafkaCredentials(config, (error) =>
    log.error(
      { error: String(error) },
      'a changed certificate or secret for Kafka cannot be used; the one before stays',
    ),
  );
  const { brokers, topicPrefix, tenants, group, partitions, replicas } = config;
  const connection = { clientId: `merit-${tenant}`, brokers, tls: credentials.tls, sasl: credentials.sasl };
  const client = await openClient(config, connection);
  try {
    const name = `${topicPrefix}${REPORTS_TOPIC}`;
    if (!(await ensureKafkaTopic(client, { name, partitions, replicas })))
      log.warn(
        { topic: name },
        'the configuration of the topic may not be read by this user; nothing of it was checked',
      );
    await makeDownstream(client, config, log);
  } catch (error) {
    credentials.close();
    await client.close();
    throw error;
  }
  const opened = openKafkaEventLog({ client, prefix: topicPrefix, tenant, tenants, group, open: openRecord, watch });
  return {
    ...opened,
    close: async () => {
      credentials.close();
      await opened.close();
    },
  };
}

/** What others read is theirs to configure: topics are made where they are missing, and taken as they are. */
async function makeDownstream(
  client: KafkaClient,
  { topicPrefix, partitions, replicas }: KafkaLogConfig,
  log: Log,
): Promise<void> {
  for (const topic of DOWNSTREAM_TOPICS) {
    const name = `${topicPrefix}${topic}`;
    try {
      if ((await client.topic(name)) === undefined)
        await client.createTopic(name, { partitions, replicas, configs: {} });
    } catch (error) {
      log.warn({ topic: name, error: String(error) }, 'a topic for what is published could not be made; make it');
    }
  }
}

/** Imported here: who logs into Postgres loads neither. */
async function openClient({ client }: KafkaLogConfig, connection: KafkaConnection): Promise<KafkaClient> {
  if (client === 'kafkajs') return (await import('../../platform/kafka/kafkajs.ts')).openKafkaJsClient(connection);
  return (await import('../../platform/kafka/platformatic.ts')).openPlatformaticClient(connection);
}
