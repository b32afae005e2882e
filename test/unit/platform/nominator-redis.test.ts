import { expect, test } from 'vitest';
import { redisNominator } from '../../../platform/nominator-redis.ts';

test('a Redis that is away nominates nobody, ends nothing, and is told with the fault of the connection', async () => {
  const nominator = await redisNominator('redis://127.0.0.1:1', 'test');
  try {
    expect(await nominator.nominate('engine', 'a')).toBeUndefined();
    expect(nominator.away()).toMatch(/^Redis does not answer: .*ECONNREFUSED/);
  } finally {
    await nominator.close();
  }
});
