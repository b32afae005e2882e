import { describe, expect, test } from 'vitest';
import { KafkaFault } from '../../../platform/kafka/client.ts';
import type { KafkaJsBroker, KafkaJsCluster } from '../../../platform/kafka/kafkajs-inside.ts';
import { byLeader } from '../../../platform/kafka/kafkajs-leaders.ts';

/** Two brokers, of which the partitions' leader changes with each opening. */
function moving(fault: (broker: string, opening: number) => KafkaFault | undefined) {
  const asked: string[] = [];
  let opening = 0;
  const use = async <T>(work: (cluster: KafkaJsCluster) => Promise<T>): Promise<T> => {
    opening++;
    const leaders = opening === 1 ? { a: [0, 1] } : { a: [0], b: [1] };
    return work({
      addTargetTopic: async () => {},
      refreshMetadataIfNecessary: async () => {},
      findLeaderForPartitions: () => leaders,
      findBroker: async ({ nodeId }: { nodeId: string }) => ({ nodeId }) as unknown as KafkaJsBroker,
    } as unknown as KafkaJsCluster);
  };
  const ask = async (broker: KafkaJsBroker, wanted: readonly { partition: number }[]) => {
    const { nodeId } = broker as unknown as { nodeId: string };
    asked.push(`${nodeId}:${wanted.map(({ partition }) => partition)}`);
    const found = fault(nodeId, opening);
    if (found !== undefined) throw found;
    return wanted.map(({ partition }) => `${partition} by ${nodeId}`);
  };
  return { asked, run: () => byLeader({ use }, 'reports', [{ partition: 0 }, { partition: 1 }], ask) };
}

const answered = (type: string) => new KafkaFault('away', type, Object.assign(new Error(type), { type }));

describe('what is asked of the leaders of partitions', () => {
  test('is asked anew where a broker says that it does not lead, of the new leaders', async () => {
    const { asked, run } = moving((_, opening) => (opening === 1 ? answered('NOT_LEADER_FOR_PARTITION') : undefined));
    expect(await run()).toEqual(['0 by a', '1 by b']);
    expect(asked).toEqual(['a:0,1', 'a:0', 'b:1']);
  });

  test('fails at the third time', async () => {
    const { asked, run } = moving(() => answered('LEADER_NOT_AVAILABLE'));
    await expect(run()).rejects.toThrow('LEADER_NOT_AVAILABLE');
    expect(asked.filter((one) => one.startsWith('a:'))).toHaveLength(3);
  });

  test.each([
    ['a connection that broke', new KafkaFault('away', 'closed', new Error('closed'))],
    [
      'a user that may not',
      new KafkaFault('auth', 'no', Object.assign(new Error('no'), { type: 'TOPIC_AUTHORIZATION_FAILED' })),
    ],
  ])('is not asked again after %s: whoever asked tries that', async (_, fault) => {
    const { asked, run } = moving(() => fault);
    await expect(run()).rejects.toBe(fault);
    expect(asked).toEqual(['a:0,1']);
  });
});
