import pg from 'pg';
import type { Clock } from './clock.ts';
import { clientConfig } from './pg-client.ts';
import type { DatabaseUrl } from './pg-login.ts';

const RECONNECT_MS = 1_000;

/**
 * Calls `onNotify` with the payload of each NOTIFY on `channel`, and with none after every (re)connect, since notifications may have been
 * missed meanwhile. It is a hint only: whoever uses it polls as well.
 */
export async function listen(
  url: DatabaseUrl,
  channel: string,
  clock: Clock,
  signal: AbortSignal,
  onNotify: (payload?: string) => void,
): Promise<void> {
  while (!signal.aborted) {
    const client = new pg.Client({ ...clientConfig(url, 'merit listen'), keepAlive: true });
    const broken = new Promise<void>((resolve) => {
      client.on('error', () => resolve());
      client.on('end', () => resolve());
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
    client.on('notification', (told) => onNotify(told.payload));
    try {
      await client.connect();
      await client.query(`listen ${pg.escapeIdentifier(channel)}`);
      onNotify();
      await broken;
    } catch {
      // Postgres is away: the poll of whoever listens goes on, and so does this loop.
    }
    await client.end().catch(() => {});
    await clock.sleep(RECONNECT_MS, signal);
  }
}
