import { durationMs } from '../core/duration.ts';
import { type Refusal, refuse } from '../core/refusal.ts';
import { isLoopbackHost } from './loopback.ts';

/** One value of the configuration, read: what it means, or why it is refused. */
export type Ruled<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly refusal: Refusal };

const refused = (
  code: string,
  field: string,
  problem: string,
  mend: string,
): { readonly ok: false; readonly refusal: Refusal } => ({
  ok: false,
  refusal: refuse(code, field, problem, mend),
});

/** A duration with a unit, within bounds, in milliseconds. */
export function ruleDuration(field: string, text: string, minMs: number, maxMs: number): Ruled<number> {
  const ms = durationMs(text);
  if (ms === undefined)
    return refused('duration', field, 'is not a duration above zero with a unit', 'write 500ms, 30s, 15m, 6h or 7d');
  if (ms < minMs || ms > maxMs)
    return refused('range', field, `must be ${minMs} to ${maxMs} ms`, 'choose a duration in range');
  return { ok: true, value: ms };
}

/** An `https://` origin, or `http://` on loopback; no user, path, query or fragment. The value is never told: it may hold a password. */
export function ruleEndpoint(field: string, text: string): Ruled<string> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    return refused('endpoint', field, 'is not an http or https URL', 'write https://host:port');
  }
  if (url.username !== '' || url.password !== '') {
    return refused(
      'endpoint_userinfo',
      field,
      'holds a user name or password',
      'take it out; services know us by certificate',
    );
  }
  if (url.protocol === 'http:' && !isLoopbackHost(url.hostname)) {
    return refused('endpoint_plain', field, 'is plain http to another machine', 'use https');
  }
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    return refused('endpoint', field, 'holds more than scheme, host and port', 'write https://host:port');
  }
  return { ok: true, value: url.origin };
}

const DSN_MEND = 'write postgres://user:password@host:5432/database?sslmode=verify-full';

/** A Postgres URL. To another machine only with sslmode=verify-full. The value is never told: it holds a password. */
export function ruleDatabaseUrl(field: string, text: string): Ruled<string> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== 'postgres:' && url.protocol !== 'postgresql:')) {
    return refused('dsn', field, 'is not a postgres:// URL', DSN_MEND);
  }
  if (url.username === '' || url.pathname.length < 2)
    return refused('dsn', field, 'lacks the user or the database', DSN_MEND);
  const modes = url.searchParams.getAll('sslmode');
  // libpq and pg take `host` of the query before the one of the authority; `ssl=0` and the like would undo the mode.
  const overrides = ['host', 'hostaddr', 'ssl', 'uselibpqcompat'].filter((name) => url.searchParams.has(name));
  if (overrides.length > 0 || modes.length > 1) {
    return refused('dsn', field, `sets ${overrides[0] ?? 'sslmode twice'} in its query`, DSN_MEND);
  }
  // A host that is a path is a socket of this machine.
  const here = isLoopbackHost(url.hostname) || /^%2f/i.test(url.hostname);
  if (!here && modes[0] !== 'verify-full') {
    return refused(
      'dsn_tls',
      field,
      `reaches another machine with sslmode ${modes[0] === undefined ? 'unset' : 'other than verify-full'}`,
      DSN_MEND,
    );
  }
  return { ok: true, value: text };
}

/** A Redis URL; to another machine only `rediss://`. The value is never told: it may hold a password. */
export function ruleRedisUrl(field: string, text: string): Ruled<string> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const mend = 'write rediss://user:password@host:6379';
  if (url === undefined || (url.protocol !== 'redis:' && url.protocol !== 'rediss:'))
    return refused('redis_url', field, 'is not a redis:// or rediss:// URL', mend);
  if (url.protocol === 'redis:' && !isLoopbackHost(url.hostname))
    return refused('redis_tls', field, 'reaches another machine without TLS', mend);
  return { ok: true, value: text };
}

/** What Kubernetes takes as the name of a namespace or a lease. */
export function ruleKubernetesName(field: string, text: string, maxLength: number): Ruled<string> {
  if (text.length <= maxLength && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(text)) return { ok: true, value: text };
  return refused(
    'kubernetes_name',
    field,
    'is no name in Kubernetes',
    `write at most ${maxLength} of a-z, 0-9 and -, none of them - at an end`,
  );
}

/** Whether a URL carries a password; a configuration file must not. */
export function holdsPassword(text: string): boolean {
  return !URL.canParse(text) || new URL(text).password !== '' || new URL(text).searchParams.has('password');
}

/** Node’s own switch, by which every connection of the process takes any certificate. */
export function tlsCheckRefusals(rejectUnauthorized: string | undefined): readonly Refusal[] {
  if (rejectUnauthorized !== '0') return [];
  const mend = 'unset it; the certificate of an authority of your own goes into a caFile, or NODE_EXTRA_CA_CERTS';
  return [refuse('tls_unverified', 'NODE_TLS_REJECT_UNAUTHORIZED', 'takes any certificate for a sound one', mend)];
}

/** Settings of the Node that runs us which would open it to others. */
export function nodeOptionRefusals(nodeOptions: string | undefined): readonly Refusal[] {
  const refusals: Refusal[] = [];
  for (const [, host] of (nodeOptions ?? '').matchAll(
    /--inspect(?:-brk|-wait|-port)?[= ](\[[^\]]*\]|[^\s:]+)(?::\d+)?(?=\s|$)/g,
  )) {
    if (host !== undefined && !/^\d+$/.test(host) && !isLoopbackHost(host)) {
      refusals.push(
        refuse(
          'inspect',
          'NODE_OPTIONS',
          'opens the debugger to other machines',
          'inspect on 127.0.0.1, or not at all',
        ),
      );
    }
  }
  return refusals;
}
