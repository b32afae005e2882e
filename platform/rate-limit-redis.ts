import type { Redis } from 'ioredis';
import { binding, emissionMs, type RateLimiter, toleranceMs, verdictOf } from './rate-limit.ts';
import { type RedisUrl, redisClient } from './redis.ts';

/** A request waits so long for its limit at most. */
export const ANSWER_TIMEOUT_MS = 50;
/** A command that nobody waits for any more is forgotten; the handshake of a connection has as long. */
const COMMAND_TIMEOUT_MS = 2_000;
const CONNECT_TIMEOUT_MS = 2_000;
const MAX_RECONNECT_PAUSE_MS = 1_000;

/**
 * For each key (ARGV: emission and tolerance in microseconds) its time of being full again; taken of all, or of none. Times are Redis' own, so
 * that clocks of processes cannot differ. Answers, by key, 1 or 0 (would it take one?) and how far its time is ahead of now.
 */
const TAKE = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local allowed = true
local before = {}
local answer = {}
for i, key in ipairs(KEYS) do
  local stored = tonumber(redis.call('GET', key)) or 0
  before[i] = math.max(stored, now)
  if before[i] + ARGV[2 * i - 1] - now > ARGV[2 * i] + 1 then
    allowed = false
    answer[2 * i - 1] = 0
  else
    answer[2 * i - 1] = 1
  end
end
for i, key in ipairs(KEYS) do
  local at = before[i]
  if allowed then
    at = at + ARGV[2 * i - 1]
    redis.call('SET', key, string.format('%.0f', at), 'PX', math.ceil((at - now) / 1000) + 1000)
  end
  answer[2 * i] = math.floor(at - now)
end
return answer`;

interface Scripted extends Redis {
  meritTake(keys: number, ...given: readonly (string | number)[]): Promise<readonly number[]>;
}

/**
 * The limits of all processes on one Redis (at `url`, told apart from those of other installations by `prefix`). The script goes over the wire
 * once and by its hash from then on. Never waits: what is not answered within `answerTimeoutMs`, or has no connection, throws.
 */
export async function redisRateLimiter(
  url: RedisUrl,
  prefix: string,
  answerTimeoutMs = ANSWER_TIMEOUT_MS,
): Promise<RateLimiter> {
  const redis = (await redisClient(url, {
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    retryStrategy: (times) => Math.min(times * 100, MAX_RECONNECT_PAUSE_MS),
  })) as Scripted;
  redis.defineCommand('meritTake', { lua: TAKE });
  await redis.connect().catch(() => {});
  return {
    take: async (buckets) => {
      const keys = buckets.map(({ key }) => `merit:{${prefix}}:rate:${key}`);
      const rates = buckets.flatMap(({ rate }) => [
        Math.round(emissionMs(rate) * 1_000),
        Math.round(toleranceMs(rate) * 1_000),
      ]);
      const answer = await within(answerTimeoutMs, redis.meritTake(keys.length, ...keys, ...rates));
      const told = buckets.map(({ rate }, i) =>
        verdictOf(rate, (answer[2 * i + 1] ?? 0) / 1_000, 0, answer[2 * i] === 1),
      );
      const allowed = told.every((one) => one.allowed);
      return binding(told.filter((one) => allowed || !one.allowed));
    },
    close: async () => redis.disconnect(),
  };
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Redis has not answered within ${ms} ms`)), ms);
  });
  // Answered late, it is nobody's failure.
  work.catch(() => {});
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
