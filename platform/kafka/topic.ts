import { OperatingError } from '../../core/operating-error.ts';
import { MAX_MESSAGE_BYTES } from '../event-log.ts';
import { type KafkaClient, KafkaFault, kafkaError } from './client.ts';

/** What max.message.bytes must allow: the largest message, its headers, and what Kafka adds. */
const NEEDED_MESSAGE_BYTES = 2 * 1024 * 1024;
/** In-sync replicas that a write waits for, of a topic that is made here and has replicas to spare. */
const MIN_IN_SYNC = 2;

export interface WantedTopic {
  readonly name: string;
  /** Of one that is made. */
  readonly partitions: number;
  readonly replicas: number;
}

interface Rule {
  readonly config: string;
  readonly holds: (value: string) => boolean;
  readonly wanted: string;
  readonly why: string;
}

const RULES: readonly Rule[] = [
  {
    config: 'max.message.bytes',
    holds: (value) => Number(value) >= NEEDED_MESSAGE_BYTES,
    wanted: String(NEEDED_MESSAGE_BYTES),
    why: `messages of up to ${MAX_MESSAGE_BYTES} bytes and their headers must fit`,
  },
  {
    config: 'message.timestamp.type',
    holds: (value) => value === 'LogAppendTime',
    wanted: 'LogAppendTime',
    why: 'when a window is final is decided by the broker’s time, never by a producer’s',
  },
  {
    config: 'cleanup.policy',
    holds: (value) => value === 'delete',
    wanted: 'delete',
    why: 'compaction removes reports that share a key',
  },
];

/**
 * Makes the topic where it is missing, and holds one that is there to what the log needs. Throws OperatingError with all that is wrong and
 * the command that mends it. A topic whose configuration this user may not read is taken as it is: false is returned then.
 */
export async function ensureKafkaTopic(
  client: KafkaClient,
  { name, partitions, replicas }: WantedTopic,
): Promise<boolean> {
  const doing = `preparing the topic ${name}`;
  try {
    if ((await client.topic(name)) === undefined) {
      const configs = Object.fromEntries(RULES.map(({ config, wanted }) => [config, wanted]));
      const durable = replicas > MIN_IN_SYNC ? { 'min.insync.replicas': String(MIN_IN_SYNC) } : {};
      await client.createTopic(name, { partitions, replicas, configs: { ...configs, ...durable } });
    }
    return await holdTopic(client, name, doing);
  } catch (error) {
    throw kafkaError(error, doing);
  }
}

async function holdTopic(client: KafkaClient, name: string, doing: string): Promise<boolean> {
  let configs: ReadonlyMap<string, string>;
  try {
    configs = await client.topicConfig(name);
  } catch (error) {
    if (error instanceof KafkaFault && error.kind === 'auth') return false;
    throw error;
  }
  const broken = RULES.filter(({ config, holds }) => !holds(configs.get(config) ?? ''));
  if (broken.length === 0) return true;
  const problems = broken.map(({ config, why }) => `${config} is ${configs.get(config) ?? 'unknown'}: ${why}`);
  const wanted = broken.map(({ config, wanted }) => `${config}=${wanted}`).join(',');
  throw new OperatingError('part-missing', 'never', doing, {
    cause: problems.join('; '),
    mend: `kafka-configs --alter --topic ${name} --add-config ${wanted}`,
  });
}
