import { RefusedInput, refuse } from '../core/refusal.ts';
import { type LoginField, probeLogin } from './probe-roles.ts';
import type { Secret } from './secret.ts';

/**
 * How the login of a running server is read again: another one is taken only where it is of the same database, which lets it in now, with no more rights than
 * the first had to show. Throws RefusedInput or OperatingError otherwise, and what was read before goes on.
 */
export function nextLogin(field: LoginField, initial: Secret, read: () => Promise<Secret>): () => Promise<Secret> {
  let taken = initial.reveal();
  return async () => {
    const next = await read();
    const url = next.reveal();
    if (url === taken) return next;
    if (placeOf(url) !== placeOf(taken)) {
      const problem = 'names another database than the one that the server was started with';
      throw new RefusedInput([refuse('conflict', field, problem, 'change the login only, or start the server anew')]);
    }
    const refusals = await probeLogin(field, url);
    if (refusals.length > 0) throw new RefusedInput(refusals);
    taken = url;
    return next;
  };
}

/** The URL without its login. */
function placeOf(text: string): string {
  const url = new URL(text);
  url.username = '';
  url.password = '';
  return url.href;
}
