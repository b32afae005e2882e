import { resolve } from 'node:path';
import { slugRefusal } from '../core/ids.ts';
import { type Static, Type } from '../core/schema.ts';
import type { Reader } from './config-file.ts';
import { SASL_MECHANISMS } from './kafka/client.ts';
import { credentialRefusals, type KafkaSaslConfig, type KafkaTlsFiles } from './kafka/credentials.ts';
import { isLoopbackHost } from './loopback.ts';
import { SecretSourceFile, secretSource } from './secret-source.ts';

export const KAFKA_CLIENTS = ['platformatic', 'kafkajs'] as const;
export type KafkaClientName = (typeof KAFKA_CLIENTS)[number];

export interface KafkaLogConfig {
  readonly kind: 'kafka';
  readonly brokers: readonly string[];
  readonly client: KafkaClientName;
  readonly topicPrefix: string;
  /** Whose messages the topics hold beside the server's own tenant's; a record names its tenant by a header. */
  readonly tenants: readonly string[];
  readonly group: string;
  /** Of a topic that is made. */
  readonly partitions: number;
  /** As above; -1: as the broker has it. */
  readonly replicas: number;
  readonly tls: KafkaTlsFiles | undefined;
  readonly sasl: KafkaSaslConfig | undefined;
}

export type EventLogConfig = { readonly kind: 'embedded' } | KafkaLogConfig;

const Text = Type.String({ minLength: 1, maxLength: 4096 });
const MAX_TENANTS = 1_000;
const Optional = Type.Optional;
const closed = { additionalProperties: false } as const;
/** Settings of other clients that people bring along: only what this log does anyway is taken. */
const FIXED = {
  'enable.auto.commit': ['false', 'a position is stored with what was done, never on a timer'],
  'isolation.level': ['read_committed', 'what was aborted is never read'],
  acks: ['all', 'what was accepted is durable'],
  'enable.idempotence': ['true', 'a write that is repeated is stored once'],
} as const;

/** `eventLog` of merit.yaml. */
export const EventLogFile = Type.Object(
  {
    kafka: Type.Object(
      {
        brokers: Optional(Type.Array(Text, { minItems: 1, maxItems: 100 })),
        client: Optional(Text),
        topicPrefix: Optional(Text),
        tenants: Optional(Type.Array(Text, { maxItems: MAX_TENANTS })),
        group: Optional(Text),
        partitions: Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
        replicationFactor: Optional(Type.Integer({ minimum: 1, maximum: 15 })),
        tls: Optional(
          Type.Object({ caFile: Optional(Text), certFile: Optional(Text), keyFile: Optional(Text) }, closed),
        ),
        sasl: Optional(
          Type.Object(
            {
              mechanism: Text,
              username: Optional(Text),
              passwordFile: Optional(Text),
              tokenFile: Optional(Text),
              secret: Optional(SecretSourceFile),
            },
            closed,
          ),
        ),
        'enable.auto.commit': Optional(Type.Unknown()),
        'isolation.level': Optional(Type.Unknown()),
        acks: Optional(Type.Unknown()),
        'enable.idempotence': Optional(Type.Unknown()),
      },
      closed,
    ),
  },
  closed,
);
type KafkaFile = Static<typeof EventLogFile>['kafka'];

const DEFAULT_PARTITIONS = 6;
const BROKER_DEFAULT = -1;
const DEFAULT_GROUP = 'merit';
/** Kafka takes 249, and the log's own names come behind it. */
const MAX_NAME = 200;
const NAME = /^[A-Za-z0-9._-]+$/;
const BROKER = /^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):([1-9][0-9]{0,4})$/;

export interface EventLogSources {
  /** KAFKA_BROKERS. */
  readonly brokers: string | undefined;
  readonly file: Static<typeof EventLogFile> | undefined;
  readonly fileDir: string;
  readonly reader: Reader;
}

/** Kafka where brokers are named, else the table in Postgres. What is wrong goes to the reader, all of it. */
export async function eventLogConfig(from: EventLogSources): Promise<EventLogConfig> {
  const before = from.reader.refusals.length;
  const config = readEventLog(from);
  // Files of what is refused already are not looked at.
  if (config.kind === 'kafka' && from.reader.refusals.length === before)
    from.reader.add(await credentialRefusals(config));
  return config;
}

function readEventLog(from: EventLogSources): EventLogConfig {
  const { reader } = from;
  if (from.file === undefined && from.brokers === undefined) return { kind: 'embedded' };
  const file: KafkaFile = from.file?.kafka ?? {};
  const brokers = from.brokers?.split(',').map((broker) => broker.trim()) ?? file.brokers ?? [];
  if (brokers.length === 0)
    reader.refuse('required', 'eventLog.kafka.brokers', 'is missing', 'name them, or set KAFKA_BROKERS');
  const tls = tlsOf(file, from);
  ruleBrokers(brokers, tls !== undefined, reader);
  ruleFixed(file, reader);
  const name = (field: 'topicPrefix' | 'group', otherwise: string): string => {
    const text = file[field] ?? otherwise;
    if (text !== '' && (!NAME.test(text) || text.length > MAX_NAME))
      reader.refuse(
        'name',
        `eventLog.kafka.${field}`,
        'is no name in Kafka',
        `write at most ${MAX_NAME} of A-Z a-z 0-9 . _ -`,
      );
    return text;
  };
  return {
    kind: 'kafka',
    brokers,
    client: clientOf(file, reader),
    topicPrefix: name('topicPrefix', ''),
    tenants: tenantsOf(file, reader),
    group: name('group', DEFAULT_GROUP),
    partitions: file.partitions ?? DEFAULT_PARTITIONS,
    replicas: file.replicationFactor ?? BROKER_DEFAULT,
    tls,
    sasl: saslOf(file, from),
  };
}

/** No value is told: it may hold a password. */
function ruleBrokers(brokers: readonly string[], secure: boolean, reader: Reader): void {
  const field = 'eventLog.kafka.brokers';
  const found = brokers.map((broker) => BROKER.exec(broker));
  if (found.some((match) => match === null || Number(match[2]) > 65_535))
    reader.refuse('broker', field, 'names what is no broker', 'write host:port, several with commas between');
  if (!secure && found.some((match) => match !== null && !isLoopbackHost(match[1]!)))
    reader.refuse('kafka_plain', field, 'reaches another machine without TLS', 'add eventLog.kafka.tls: {caFile: …}');
}

function ruleFixed(file: KafkaFile, reader: Reader): void {
  for (const [setting, [value, why]] of Object.entries(FIXED)) {
    const given = file[setting as keyof typeof FIXED];
    if (given !== undefined && String(given) !== value)
      reader.refuse('fixed', `eventLog.kafka.${setting}`, `must be ${value}: ${why}`, 'take the setting out');
  }
}

function clientOf(file: KafkaFile, reader: Reader): KafkaClientName {
  const named = file.client ?? KAFKA_CLIENTS[0];
  const client = KAFKA_CLIENTS.find((known) => known === named);
  if (client === undefined)
    reader.refuse('enum', 'eventLog.kafka.client', 'is no client', `use ${KAFKA_CLIENTS.join(' or ')}`);
  return client ?? KAFKA_CLIENTS[0];
}

function tenantsOf({ tenants = [] }: KafkaFile, reader: Reader): readonly string[] {
  reader.add(
    tenants.flatMap((tenant, i) => {
      const refusal = slugRefusal(`eventLog.kafka.tenants[${i}]`, tenant);
      return refusal === undefined ? [] : [refusal];
    }),
  );
  return [...new Set(tenants)];
}

function tlsOf(file: KafkaFile, { fileDir, reader }: EventLogSources): KafkaTlsFiles | undefined {
  if (file.tls === undefined) return undefined;
  const { caFile, certFile, keyFile } = file.tls;
  if ((certFile === undefined) !== (keyFile === undefined)) {
    const missing = certFile === undefined ? 'certFile' : 'keyFile';
    reader.refuse('required', `eventLog.kafka.tls.${missing}`, 'is missing beside the other', 'name both, or none');
  }
  const path = (text: string | undefined) => (text === undefined ? undefined : resolve(fileDir, text));
  return { caFile: path(caFile), certFile: path(certFile), keyFile: path(keyFile) };
}

function saslOf(file: KafkaFile, { fileDir, reader }: EventLogSources): KafkaSaslConfig | undefined {
  if (file.sasl === undefined) return undefined;
  const { username, passwordFile, tokenFile, secret } = file.sasl;
  const field = 'eventLog.kafka.sasl';
  const mechanism = SASL_MECHANISMS.find((known) => known === file.sasl?.mechanism);
  if (mechanism === undefined)
    reader.refuse('enum', `${field}.mechanism`, 'is not spoken here', `use ${SASL_MECHANISMS.join(', ')}`);
  const token = mechanism === 'OAUTHBEARER';
  if (!token && username === undefined) reader.refuse('required', `${field}.username`, 'is missing', 'name the user');
  const [wanted, secretFile, other] = token
    ? (['tokenFile', tokenFile, passwordFile] as const)
    : (['passwordFile', passwordFile, tokenFile] as const);
  const inFile = (path: string) => resolve(fileDir, path);
  const one = { mechanism: mechanism ?? 'PLAIN', username: username ?? '' };
  if ((secretFile === undefined) === (secret === undefined) || other !== undefined)
    reader.refuse(
      'secret_file',
      field,
      `needs one of ${wanted} and secret, and no other`,
      'put the secret into a file of mode 600, or into AWS Secrets Manager, and name it',
    );
  if (secret !== undefined) return { ...one, secret: secretSource(`${field}.secret`, secret, inFile, reader) };
  return { ...one, secret: { kind: 'file', path: inFile(secretFile ?? ''), member: undefined } };
}
