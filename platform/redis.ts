import type { Redis, RedisOptions } from 'ioredis';
import { OperatingError } from '../core/operating-error.ts';
import type { Refusal } from '../core/refusal.ts';
import type { RotatingSecret } from './rotating-secret.ts';

/** A URL of Redis: as it is, or one whose user and password change while the server runs. */
export type RedisUrl = string | RotatingSecret;

/** WRONGPASS: no such user, or another password; NOAUTH: Redis has a password by now. */
const LOGIN_REFUSED = /^(WRONGPASS|NOAUTH)\b/;
const PROBE_TIMEOUT_MS = 5_000;

/**
 * A client, not connected yet, that keeps nobody waiting: a command fails where there is no connection, which is made again by itself, with the login as it is then. A login that
 * changes is said on the connection that stands, so that no command fails by it and the one before can be taken away.
 */
export async function redisClient(
  url: RedisUrl,
  options: Pick<RedisOptions, 'connectTimeout' | 'commandTimeout' | 'retryStrategy'>,
): Promise<Redis> {
  // Here and not above: nobody without Redis needs it.
  const { Redis: Client } = await import('ioredis');
  const redis = new Client(typeof url === 'string' ? url : url.now().reveal(), {
    lazyConnect: true,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    ...options,
  });
  // Each fault is told by the command it fails; without a listener the client prints it.
  redis.on('error', ({ message }: Error) => {
    if (typeof url !== 'string' && LOGIN_REFUSED.test(message)) void url.renew(url.now());
  });
  if (typeof url !== 'string') url.onChange(() => sayLogin(redis, url));
  return redis;
}

function sayLogin(redis: Redis, url: RotatingSecret): void {
  const { username, password } = loginOf(url.now().reveal());
  redis.options.username = username;
  redis.options.password = password;
  if (redis.status !== 'ready') return;
  // Refused, the connection goes on as whom it was; the next one says it again.
  void redis.auth(username ?? 'default', password ?? '').catch(() => {});
}

/** As the client reads it: a URL can have a password only. */
function loginOf(text: string): { readonly username?: string; readonly password?: string } {
  const { username, password } = new URL(text);
  return {
    ...(username === '' ? {} : { username: decodeURIComponent(username) }),
    ...(password === '' ? {} : { password: decodeURIComponent(password) }),
  };
}

/** Whether Redis lets this login in: throws OperatingError where it does not, or cannot be asked. */
export async function probeRedis(url: string): Promise<readonly Refusal[]> {
  const { Redis: Client } = await import('ioredis');
  const redis = new Client(url, { lazyConnect: true, connectTimeout: PROBE_TIMEOUT_MS, retryStrategy: () => null });
  let fault: Error | undefined;
  redis.on('error', (error: Error) => {
    fault ??= error;
  });
  try {
    await redis.connect();
    return [];
  } catch (error) {
    const cause = fault ?? error;
    const code = LOGIN_REFUSED.test((cause as Error).message) ? 'auth' : 'unreachable';
    throw new OperatingError(code, 'safe', 'trying another login for Redis', { cause });
  } finally {
    redis.disconnect();
  }
}
