import { setTimeout as sleep } from 'node:timers/promises';
import type { RotatingSecret } from './rotating-secret.ts';
import type { Secret } from './secret.ts';

/** A database URL: as it is, or one whose user and password change while the server runs. */
export type DatabaseUrl = string | RotatingSecret;

/** As it is now. */
export function urlNow(url: DatabaseUrl): string {
  return typeof url === 'string' ? url : url.now().reveal();
}

/** 28P01: wrong password, or no such user; 28000: a user that may not log in. */
const LOGIN_REFUSED = new Set(['28P01', '28000']);
/** Between the database taking another password and its source telling it: Vault Agent and Secrets Manager take a few seconds. */
const LOGIN_GRACE_MS = 10_000;
const LOGIN_PAUSE_MS = 250;

/** Those that were let in once: only what worked before is waited for. */
const taken = new WeakSet<RotatingSecret>();

/** Connects; a login that changes is read again where it is refused, and waited for, since the database may know of the next one before its source tells it. */
export async function withLogin<T>(url: DatabaseUrl, connect: () => Promise<T>): Promise<T> {
  if (typeof url === 'string') return connect();
  const deadline = performance.now() + LOGIN_GRACE_MS;
  for (;;) {
    const used: Secret = url.now();
    try {
      const connected = await connect();
      taken.add(url);
      return connected;
    } catch (error) {
      const isRefused = LOGIN_REFUSED.has(String((error as { code?: unknown }).code));
      if (!isRefused || !taken.has(url) || performance.now() > deadline) throw error;
      if (!(await url.renew(used))) await sleep(LOGIN_PAUSE_MS);
    }
  }
}
