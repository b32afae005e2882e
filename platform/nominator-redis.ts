import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { LEASE_MS, type Nomination, type Nominator } from './nominator.ts';
import { type RedisUrl, redisClient } from './redis.ts';

/** The lease is ours: it is kept for as long again. */
const RENEW =
  "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) else return 0 end";
/** Only ours is given back: it may have run out and be somebody else's by now. */
const GIVE_BACK = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";
const COMMAND_TIMEOUT_MS = 2_000;

/**
 * Nominates by a lease in Redis (SET NX PX), which its holder renews three times within it. It is lost as soon as another holds it, or when
 * it could not be renewed for two thirds of it, so that its holder stops before another may start.
 * Source: Redis documentation, "Distributed Locks with Redis", single instance.
 */
export async function redisNominator(url: RedisUrl, installation: string, leaseMs = LEASE_MS): Promise<Nominator> {
  const redis = await redisClient(url, {
    commandTimeout: COMMAND_TIMEOUT_MS,
    retryStrategy: (times) => Math.min(times * 100, COMMAND_TIMEOUT_MS),
  });
  let away: string | undefined;
  // A nomination that fails is tried again. The fault of a connection says more than that of a command which found none.
  let fault: string | undefined;
  redis.on('error', ({ message }: Error) => {
    fault = message;
  });
  redis.on('ready', () => {
    fault = undefined;
  });
  await redis.connect().catch(() => {});
  return {
    nominate: async (seat, holder) => {
      const key = `merit:${installation}:leader:${seat}`;
      const token = `${holder} ${randomUUID()}`;
      const askedAt = performance.now();
      const taken = await redis.set(key, token, 'PX', leaseMs, 'NX').then(
        (reply) => {
          away = undefined;
          return reply;
        },
        ({ message }: Error) => {
          away = `Redis does not answer: ${fault ?? message}`;
          return null;
        },
      );
      return taken === 'OK' ? keep(redis, key, token, leaseMs, askedAt) : undefined;
    },
    away: () => away,
    close: async () => {
      redis.disconnect();
    },
  };
}

function keep(redis: Redis, key: string, token: string, leaseMs: number, takenAt: number): Nomination {
  const lost = new AbortController();
  let heldSince = takenAt;
  const renew = async () => {
    const askedAt = performance.now();
    try {
      if ((await redis.eval(RENEW, 1, key, token, leaseMs)) === 1) heldSince = askedAt;
      else lost.abort();
    } catch {
      // It may still be ours: the time since the last renewal decides.
    }
    if (performance.now() - heldSince > (leaseMs * 2) / 3) lost.abort();
  };
  const beat = setInterval(() => void renew(), leaseMs / 3);
  lost.signal.addEventListener('abort', () => clearInterval(beat), { once: true });
  return {
    lost: lost.signal,
    resign: async () => {
      lost.abort();
      await redis.eval(GIVE_BACK, 1, key, token).catch(() => {});
    },
  };
}
