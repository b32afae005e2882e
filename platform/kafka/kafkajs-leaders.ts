import { setTimeout as pause } from 'node:timers/promises';
import { KafkaFault, kindOfProtocol, RETRIES, retryDelayMs } from './client.ts';
import type { KafkaJsBroker, KafkaJsCluster } from './kafkajs-inside.ts';
import type { Reopened } from './kafkajs-reopened.ts';

/** Asks the leader of each partition for its share. A leader that has gone, or has not yet begun, is looked up anew, as Kafka's own clients do. */
export async function byLeader<Wanted extends { readonly partition: number }, Found>(
  connections: Pick<Reopened<KafkaJsCluster>, 'use'>,
  topic: string,
  wanted: readonly Wanted[],
  ask: (broker: KafkaJsBroker, wanted: readonly Wanted[]) => Promise<readonly Found[]>,
): Promise<readonly Found[]> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await connections.use((cluster) => askLeaders(cluster, topic, wanted, ask));
    } catch (error) {
      if (attempt > RETRIES || !hasMoved(error)) throw error;
      await pause(retryDelayMs(attempt));
    }
  }
}

async function askLeaders<Wanted extends { readonly partition: number }, Found>(
  cluster: KafkaJsCluster,
  topic: string,
  wanted: readonly Wanted[],
  ask: (broker: KafkaJsBroker, wanted: readonly Wanted[]) => Promise<readonly Found[]>,
): Promise<readonly Found[]> {
  await cluster.addTargetTopic(topic);
  await cluster.refreshMetadataIfNecessary();
  const partitions = wanted.map(({ partition }) => partition);
  const leaders = cluster.findLeaderForPartitions(topic, partitions);
  const found = await Promise.all(
    Object.entries(leaders).map(async ([nodeId, led]) => {
      const broker = await cluster.findBroker({ nodeId });
      return ask(
        broker,
        wanted.filter(({ partition }) => led.includes(partition)),
      );
    }),
  );
  return found.flat();
}

/** A broker answered, and it was not the one to ask: the clusters that `use` opens after that have fresh metadata. */
function hasMoved(error: unknown): boolean {
  if (!(error instanceof KafkaFault)) return false;
  return kindOfProtocol((error.cause as { readonly type?: string } | undefined)?.type) === 'away';
}
