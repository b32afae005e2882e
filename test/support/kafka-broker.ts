import { setTimeout as sleep } from 'node:timers/promises';
import { Admin } from '@platformatic/kafka';
import { openHarness } from '../parts/harness/harness.ts';
import type { Part } from '../parts/harness/part.ts';
import { type KafkaFacts, kafka, type PreparedKafka, prepareKafka } from '../parts/kafka.ts';

/** A broker of one's own, to be broken. What is left of it ends with this process, however that ends. */
export interface KafkaBroker {
  readonly facts: Omit<KafkaFacts, 'pid'>;
  /** On the same ports and data; returns once it answers. */
  start(): Promise<void>;
  /** SIGTERM, and waits for its end. */
  stop(): Promise<void>;
  /** SIGKILL, and waits for its end. */
  kill(): Promise<void>;
  freeze(): void;
  thaw(): void;
  close(): Promise<void>;
}

const GONE_EVERY_MS = 20;

export async function openKafkaBroker(): Promise<KafkaBroker> {
  const harness = await openHarness();
  try {
    const part: Part<PreparedKafka> = { ...kafka, start: prepareKafka };
    const prepared = (await harness.own(part)).facts as PreparedKafka;
    let { pid, ...facts } = await prepared.start();
    const end = async (signal: 'SIGTERM' | 'SIGKILL') => {
      if (isThere(pid)) process.kill(pid, signal);
      while (isThere(pid)) await sleep(GONE_EVERY_MS);
    };
    return {
      facts,
      start: async () => {
        ({ pid } = await prepared.start());
      },
      stop: () => end('SIGTERM'),
      kill: () => end('SIGKILL'),
      freeze: () => process.kill(pid, 'SIGSTOP'),
      thaw: () => process.kill(pid, 'SIGCONT'),
      close: () => harness.close(),
    };
  } catch (error) {
    await harness.close();
    throw error;
  }
}

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** What tests do to topics that the product never does. */
export function kafkaAdmin(broker: string) {
  const admin = new Admin({ clientId: 'test', bootstrapBrokers: [broker] });
  return {
    createTopic: async (name: string, partitions: number, configs: Readonly<Record<string, string>> = {}) => {
      const named = Object.entries(configs).map(([key, value]) => ({ name: key, value }));
      await admin.createTopics({ topics: [name], partitions, replicas: 1, configs: named });
    },
    deleteTopic: (name: string) => admin.deleteTopics({ topics: [name] }),
    raisePartitions: (name: string, count: number) =>
      // null: the broker chooses; the library's types know only a choice of one's own.
      admin.createPartitions({ topics: [{ name, count, assignments: null as unknown as [] }] }),
    /** As retention does: everything below `offset` is gone. */
    deleteRecords: async (name: string, partition: number, offset: bigint) => {
      await admin.deleteRecords({ topics: [{ name, partitions: [{ partition, offset }] }] });
    },
    committed: async (group: string, topic: string): Promise<ReadonlyMap<number, bigint>> => {
      const groups = await admin.listConsumerGroupOffsets({ groups: [group] });
      const found = groups.flatMap(({ topics }) => topics).find(({ name }) => name === topic);
      return new Map(found?.partitions.map((one) => [one.partitionIndex, one.committedOffset]));
    },
    close: () => admin.close(),
  };
}
export type KafkaAdmin = ReturnType<typeof kafkaAdmin>;
