import { type Refusal, RefusedInput, refuse } from '../core/refusal.ts';
import type { Secret } from './secret.ts';

/** A URL with a login that changes. */
export interface ChangingLogin {
  /** In the configuration. */
  readonly field: string;
  /** What it lets in to. */
  readonly of: 'database' | 'Redis';
  readonly initial: Secret;
  readonly read: () => Promise<Secret>;
  /** What is wrong with another one; throws OperatingError where it is not let in, or nobody can be asked. */
  readonly probe: (url: string) => Promise<readonly Refusal[]>;
}

/**
 * How the login of a running server is read again: another one is taken only where it is of the same place, which lets it in now, with no more rights than
 * the first had to show. Throws RefusedInput or OperatingError otherwise, and what was read before goes on.
 */
export function nextLogin({ field, of, initial, read, probe }: ChangingLogin): () => Promise<Secret> {
  let taken = initial.reveal();
  return async () => {
    const next = await read();
    const url = next.reveal();
    if (url === taken) return next;
    if (placeOf(url) !== placeOf(taken)) {
      const problem = `names another ${of} than the one that the server was started with`;
      throw new RefusedInput([refuse('conflict', field, problem, 'change the login only, or start the server anew')]);
    }
    const refusals = await probe(url);
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
