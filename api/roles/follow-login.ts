import type { Clock } from '../../platform/clock.ts';
import { type ChangingLogin, nextLogin } from '../../platform/next-login.ts';
import { type RotatingSecret, rotatingSecret } from '../../platform/rotating-secret.ts';
import type { SecretReading } from '../../platform/secret-url.ts';
import type { Log } from '../../scheduler/apply/context.ts';

/** A URL with its login, as the server uses it: read again until `signal` where it can change. */
export function followLogin(
  login: Omit<ChangingLogin, 'read'>,
  reading: SecretReading | undefined,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  signal: AbortSignal,
): string | RotatingSecret {
  const { field, of, initial } = login;
  if (reading === undefined) return initial.reveal();
  const read = nextLogin({ ...login, read: reading.read });
  const url = rotatingSecret({ initial, read, everyMs: reading.everyMs, clock });
  const watch = {
    changed: () =>
      log.info({ field }, `another login is used for ${of === 'database' ? 'the database' : of} from now on`),
    failed: (err: unknown) => log.warn({ field, err }, 'a secret cannot be read again; what was read before goes on'),
  };
  void url.follow(watch, signal);
  return url;
}
