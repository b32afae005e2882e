import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { lastLines, runChild, usualCause } from '../../bin/child.mjs';
import { ensureDevCertificates } from '../../platform/dev-ca.ts';
import type { TlsFiles } from '../../platform/mtls.ts';
import { cachedFolder, keepInCache } from './harness/cache.ts';
import { findCommand } from './harness/debian.ts';
import type { Part, Place } from './harness/part.ts';

export interface KafkaFacts {
  /** `127.0.0.1:PORT`, by who is let in: anybody, a client certificate, a SASL user, a SASL user over TLS. */
  readonly plain: string;
  readonly tls: string;
  readonly sasl: string;
  readonly saslTls: string;
  /** Of a client; the broker's certificate is of the same authority. */
  readonly files: TlsFiles;
  /** Known to PLAIN and both kinds of SCRAM. */
  readonly user: string;
  readonly password: string;
  readonly pid: number;
  /** Where the partitions lie. */
  readonly data: string;
}

const VERSION = '4.4.0';
const ARTIFACTS = [
  ['org.apache.kafka', 'kafka_2.13', VERSION],
  ['org.apache.logging.log4j', 'log4j-slf4j-impl', '2.25.5'],
] as const;
const POM = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>invalid.merit</groupId><artifactId>parts</artifactId><version>1</version>
  <dependencies>
${ARTIFACTS.map(([group, artifact, version]) => `    <dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version></dependency>`).join('\n')}
  </dependencies>
</project>
`;
const FOLDER = cachedFolder('kafka', POM);
const JVM = ['-Xms128m', '-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-cp', join(FOLDER, 'libs', '*')];
/** The largest message that a topic may be made for. */
const MAX_MESSAGE_BYTES = 12 * 1024 * 1024;
const ASK_TIMEOUT_MS = 2_000;

/** Kafka in KRaft mode, one node, on the machine's Java (17 or later). 11 s to start, 350 MB. */
export const kafka: Part<KafkaFacts> = {
  name: 'kafka',
  needs: [],
  missing: () => {
    if (findCommand('java') === undefined) return 'there is no java: apt-get install default-jre-headless';
    return existsSync(FOLDER) ? undefined : `Kafka ${VERSION} is not there: "npm run test:parts" fetches it`;
  },
  provide: (say) =>
    keepInCache(FOLDER, say, async (place) => {
      const mvn = findCommand('mvn');
      if (mvn === undefined) throw new Error('there is no mvn: apt-get install maven');
      say(`Fetching Kafka ${VERSION} (once for all clones) …`);
      writeFileSync(join(place, 'pom.xml'), POM);
      const libs = join(place, 'libs');
      const args = [
        '-q',
        '-B',
        '-f',
        join(place, 'pom.xml'),
        'dependency:copy-dependencies',
        `-DoutputDirectory=${libs}`,
      ];
      const { code, tail } = await runChild(mvn, [...args, '-DincludeScope=runtime'], { say });
      if (code !== 0) throw new Error(`could not fetch Kafka: ${usualCause(tail)?.join('; ') ?? lastLines(tail)}`);
    }),
  start: async (place) => (await prepareKafka(place)).start(),
};

export interface PreparedKafka {
  /** Starts it on its ports and its data, which stay the same. */
  start(): Promise<KafkaFacts>;
}

/** A formatted folder and ports: it may be started again after it was stopped or killed. */
export async function prepareKafka(place: Place): Promise<PreparedKafka> {
  const ports: string[] = [];
  for (let i = 0; i < 5; i++) ports.push(`127.0.0.1:${await place.freePort()}`);
  const [plain = '', tls = '', sasl = '', saslTls = '', controller = ''] = ports;
  const files = await ensureDevCertificates({
    dir: join(place.dir, 'certificates'),
    services: ['kafka', 'merit'],
    nowMs: Date.now(),
  });
  const [user, password] = ['merit', randomBytes(12).toString('hex')];
  const data = join(place.dir, 'data');
  mkdirSync(data);
  const keystore = join(place.dir, 'kafka.pem');
  writeFileSync(
    keystore,
    `${readFileSync(files.kafka.keyFile, 'utf8')}\n${readFileSync(files.kafka.certFile, 'utf8')}`,
  );
  const properties = join(place.dir, 'server.properties');
  const listeners = { plain, tls, sasl, saslTls, controller };
  writeFileSync(properties, propertiesOf({ listeners, data, keystore, caFile: files.kafka.caFile, user, password }));
  format(properties, user, password);
  const facts = { plain, tls, sasl, saslTls, files: files.merit, user, password, data };
  return {
    start: async () => {
      const java = findCommand('java') ?? 'java';
      const pid = await place.run(java, [...JVM, 'kafka.Kafka', properties], { ready: () => answers(plain) });
      return { ...facts, pid };
    },
  };
}

function format(properties: string, user: string, password: string): void {
  const scram = ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => [
    '--add-scram',
    `${mechanism}=[name=${user},password=${password}]`,
  ]);
  // Kafka's own ids never begin with what its command line takes for an option.
  const id = randomBytes(16).toString('base64url').replace(/^-/, 'A');
  const args = [...JVM, 'kafka.tools.StorageTool', 'format', '-t', id, '-c', properties, ...scram];
  const { status, stdout, stderr } = spawnSync(findCommand('java') ?? 'java', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`Kafka's storage could not be formatted: ${stdout}${stderr}`);
}

async function answers(broker: string): Promise<boolean> {
  const { Admin } = await import('@platformatic/kafka');
  const options = { retries: 0, connectTimeout: ASK_TIMEOUT_MS, requestTimeout: ASK_TIMEOUT_MS };
  const admin = new Admin({ clientId: 'ready', bootstrapBrokers: [broker], ...options });
  try {
    return (await admin.metadata({ topics: [], forceUpdate: true })).brokers.size === 1;
  } finally {
    await admin.close();
  }
}

function propertiesOf(from: {
  readonly listeners: Readonly<Record<'plain' | 'tls' | 'sasl' | 'saslTls' | 'controller', string>>;
  readonly data: string;
  readonly keystore: string;
  readonly caFile: string;
  readonly user: string;
  readonly password: string;
}): string {
  const { plain, tls, sasl, saslTls, controller } = from.listeners;
  const advertised = `PLAIN://${plain},TLS://${tls},SASL://${sasl},SASLTLS://${saslTls}`;
  const mechanisms = 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER';
  const modules = 'org.apache.kafka.common.security';
  const authenticated = ['sasl', 'sasltls'].flatMap((name) => [
    `listener.name.${name}.sasl.enabled.mechanisms=${mechanisms}`,
    `listener.name.${name}.plain.sasl.jaas.config=${modules}.plain.PlainLoginModule required user_${from.user}="${from.password}";`,
    `listener.name.${name}.scram-sha-256.sasl.jaas.config=${modules}.scram.ScramLoginModule required;`,
    `listener.name.${name}.scram-sha-512.sasl.jaas.config=${modules}.scram.ScramLoginModule required;`,
    // Without a secret: Kafka's own check for development takes tokens that nobody signed.
    `listener.name.${name}.oauthbearer.sasl.jaas.config=${modules}.oauthbearer.OAuthBearerLoginModule required;`,
  ]);
  return `${[
    'process.roles=broker,controller',
    'node.id=1',
    `controller.quorum.voters=1@${controller}`,
    'controller.listener.names=CONTROLLER',
    `listeners=${advertised},CONTROLLER://${controller}`,
    `advertised.listeners=${advertised}`,
    'listener.security.protocol.map=PLAIN:PLAINTEXT,TLS:SSL,SASL:SASL_PLAINTEXT,SASLTLS:SASL_SSL,CONTROLLER:PLAINTEXT',
    'inter.broker.listener.name=PLAIN',
    `log.dirs=${from.data}`,
    'ssl.keystore.type=PEM',
    `ssl.keystore.location=${from.keystore}`,
    'ssl.truststore.type=PEM',
    `ssl.truststore.location=${from.caFile}`,
    'listener.name.tls.ssl.client.auth=required',
    ...authenticated,
    'auto.create.topics.enable=false',
    `message.max.bytes=${MAX_MESSAGE_BYTES}`,
    `replica.fetch.max.bytes=${MAX_MESSAGE_BYTES}`,
    'offsets.topic.num.partitions=1',
    'offsets.topic.replication.factor=1',
    'transaction.state.log.num.partitions=1',
    'transaction.state.log.replication.factor=1',
    'transaction.state.log.min.isr=1',
    'group.initial.rebalance.delay.ms=0',
    'num.network.threads=2',
    'num.io.threads=4',
  ].join('\n')}\n`;
}
