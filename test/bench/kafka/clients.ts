import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { KAFKA_CLIENTS, type KafkaClientName } from '../../../platform/event-log-config.ts';
import { openKafkaBroker } from '../../support/kafka-broker.ts';
import { makeTopic } from '../../support/kafka-logs.ts';
import { median, type Row, row, tableOf } from '../harness.ts';
import type { Order, Told } from './child.ts';

/**
 * Both clients behind the event log's port, each in a process of its own, in turns within a round. CPU is the client's alone; the broker has none of
 * it. Ratios from one run mean something.
 */

const COMMAND = 'npm run bench:kafka';
const ROUNDS = 5;
const WARM_UPS = 1;
const KILLS = 3;
const IDLE_MS = 30_000;
const IDLE_PARTITIONS = 6;
const REPORT_BYTES = 550;

/** Reports a message, and messages a pass. */
const SHAPES = [
  { what: '256 KB a message', reports: Math.floor((256 * 1024) / REPORT_BYTES), messages: 200 },
  { what: '64 KB a message', reports: Math.floor((64 * 1024) / REPORT_BYTES), messages: 600 },
  { what: 'a report a message', reports: 1, messages: 20_000 },
] as const;

type Children = Readonly<Record<KafkaClientName, ChildProcess>>;

async function start(name: KafkaClientName, broker: string): Promise<ChildProcess> {
  const child = fork(fileURLToPath(new URL('child.ts', import.meta.url)), [name, broker]);
  await once(child, 'message');
  return child;
}

async function ask(child: ChildProcess, order: Order): Promise<Told> {
  child.send(order);
  const [told] = (await once(child, 'message')) as [Told];
  return told;
}

let topics = 0;
async function newTopic(broker: string, partitions: number): Promise<string> {
  const topic = `bench-${Date.now()}-${topics++}`;
  await makeTopic(broker, topic, partitions);
  return topic;
}

/** Milliseconds of CPU a thousand reports, an entry a round. */
async function turns(children: Children, broker: string, shape: (typeof SHAPES)[number]) {
  const { messages, reports } = shape;
  const thousands = (messages * reports) / 1_000;
  const found = { produce: lists(), consume: lists() };
  for (let round = -WARM_UPS; round < ROUNDS; round++) {
    for (const name of round % 2 === 0 ? KAFKA_CLIENTS : KAFKA_CLIENTS.toReversed()) {
      const topic = await newTopic(broker, 1);
      const produced = await ask(children[name], { do: 'produce', topic, messages, reports });
      const consumed = await ask(children[name], { do: 'consume', topic, messages });
      if (round < 0) continue;
      found.produce[name].push(produced.cpuMs / thousands);
      found.consume[name].push(consumed.cpuMs / thousands);
    }
  }
  return found;
}

function lists(): Record<KafkaClientName, number[]> {
  return { platformatic: [], kafkajs: [] };
}

function ratioRow(what: string, { platformatic, kafkajs }: Record<KafkaClientName, number[]>, unit: string): Row {
  const spread = (values: readonly number[]) =>
    `${median(values).toFixed(2)} (${Math.min(...values).toFixed(2)} to ${Math.max(...values).toFixed(2)})`;
  return row({
    what: `${what}: kafkajs ÷ @platformatic/kafka`,
    value: median(kafkajs.map((value, round) => value / platformatic[round]!)),
    floor: null,
    aim: null,
    detail: `${unit}: kafkajs ${spread(kafkajs)}, @platformatic/kafka ${spread(platformatic)}`,
    command: COMMAND,
  });
}

const broker = await openKafkaBroker();
const { plain } = broker.facts;
const children: Children = {
  platformatic: await start('platformatic', plain),
  kafkajs: await start('kafkajs', plain),
};
try {
  const rows: Row[] = [];
  for (const shape of SHAPES) {
    const { produce, consume } = await turns(children, plain, shape);
    rows.push(ratioRow(`appending, ${shape.what}`, produce, 'ms of CPU a thousand reports'));
    rows.push(ratioRow(`reading, ${shape.what}`, consume, 'ms of CPU a thousand reports'));
  }
  const idle = lists();
  const quiet = await newTopic(plain, IDLE_PARTITIONS);
  await Promise.all(
    KAFKA_CLIENTS.map(async (name) => {
      const { cpuMs, wallMs } = await ask(children[name], { do: 'idle', topic: quiet, ms: IDLE_MS });
      idle[name].push((cpuMs / wallMs) * 100);
    }),
  );
  rows.push(
    ratioRow(
      `idle for ${IDLE_MS / 1_000} s, ${IDLE_PARTITIONS} partitions, Node ${process.versions.node}`,
      idle,
      '% of a core',
    ),
  );
  const healed = lists();
  for (let kill = 0; kill < KILLS; kill++) {
    const topic = await newTopic(plain, 1);
    const telling = KAFKA_CLIENTS.map((name) => ask(children[name], { do: 'heal', topic }));
    await Promise.all(telling);
    await broker.kill();
    const told = KAFKA_CLIENTS.map((name) => {
      children[name].send('killed');
      return once(children[name], 'message') as Promise<[Told]>;
    });
    await broker.start();
    const readyAtMs = Date.now();
    for (const [i, name] of KAFKA_CLIENTS.entries()) healed[name].push((await told[i]!)[0].atMs - readyAtMs);
  }
  rows.push(ratioRow('back after the broker was killed', healed, 'ms after it answered again'));
  process.stdout.write(`${tableOf(rows)}\n`);
} finally {
  for (const child of Object.values(children)) child.disconnect();
  await broker.close();
}
