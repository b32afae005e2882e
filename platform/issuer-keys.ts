import type { CryptoKey, FlattenedJWSInput, JSONWebKeySet, JWSHeaderParameters } from 'jose';
import { OperatingError } from '../core/operating-error.ts';
import { check, Type } from '../core/schema.ts';
import type { Clock } from './clock.ts';
import { openHttpClient } from './http-client.ts';
import { isLoopbackHost } from './loopback.ts';

/** Keys are read again this often, whether or not a token asks for one that is not known. */
export const KEYS_REFRESH_MS = 5 * 60_000;
/** Tokens of unknown keys make the issuer be asked no more often than this. */
export const KEYS_COOLDOWN_MS = 30_000;
/** While the issuer is away its keys go on so long: longer, and a key that it withdrew could be used for ever by who keeps it away. */
export const KEYS_MAX_AGE_MS = 24 * 3_600_000;
const LOOK_EVERY_MS = 10_000;
const FETCH_TIMEOUT_MS = 5_000;
const MAX_DOCUMENT_BYTES = 256 * 1024;
const MAX_KEYS = 64;
/** Requests that wait for one reading of keys; what comes beyond is told to come back. */
export const MAX_WAITING_FOR_KEYS = 32;

export type KeyOf = (header: JWSHeaderParameters, token: FlattenedJWSInput) => Promise<CryptoKey>;

export interface IssuerKeysWatch {
  refreshed(outcome: 'read' | 'failed'): void;
  ageSeconds(seconds: number): void;
  failed(error: unknown): void;
}

export interface IssuerKeysOptions {
  /** `https://…`, or http on loopback. */
  readonly issuer: string;
  /** PEM of the authorities that the issuer's certificate may be of; undefined: those that Node trusts. */
  readonly ca: Buffer | undefined;
  readonly clock: Clock;
  readonly watch: IssuerKeysWatch;
}

export interface IssuerKeys {
  /** A key that was read lately enough; throws jose's JWKSNoMatchingKey where there is none, OperatingError where none were read. */
  readonly keyOf: KeyOf;
  /** Reads them again unless that was done just now; says whether it was done. */
  renew(): Promise<boolean>;
  /** What a person is told of them; throws OperatingError where there are none to go on with. */
  state(): string;
  /** Reads them now, and again and again. */
  follow(signal: AbortSignal): Promise<void>;
}

interface Kept {
  readonly keyOf: KeyOf;
  readonly count: number;
  readonly readAtMs: number;
}

const Discovery = Type.Object({ issuer: Type.String(), jwks_uri: Type.String({ maxLength: 2048 }) });
const KeySet = Type.Object({ keys: Type.Array(Type.Object({ kty: Type.String() }), { maxItems: MAX_KEYS }) });

/** The keys that an issuer signs with, found by OpenID Connect Discovery 1.0, read through bounded calls that follow no redirect. */
export async function openIssuerKeys(options: IssuerKeysOptions): Promise<IssuerKeys> {
  const { issuer, clock, watch } = options;
  // Imported here: who has no issuer does not load it.
  const jose = await import('jose');
  let kept: Kept | undefined;
  let reading: Promise<boolean> | undefined;
  let waiting = 0;
  let triedAtMs = Number.NEGATIVE_INFINITY;
  let lastFailed = false;

  const read = async (): Promise<boolean> => {
    triedAtMs = clock.now();
    try {
      const keys = usableKeys(await fetchKeys(options));
      kept = { keyOf: jose.createLocalJWKSet(keys), count: keys.keys.length, readAtMs: clock.now() };
      lastFailed = false;
      watch.refreshed('read');
      return true;
    } catch (error) {
      // Told once; the metric goes on counting.
      if (!lastFailed) watch.failed(error);
      lastFailed = true;
      watch.refreshed('failed');
      return false;
    } finally {
      reading = undefined;
    }
  };
  const renew = async (): Promise<boolean> => {
    if (reading === undefined && clock.now() - triedAtMs < KEYS_COOLDOWN_MS) return false;
    if (waiting >= MAX_WAITING_FOR_KEYS) return false;
    waiting++;
    try {
      reading ??= read();
      return await reading;
    } finally {
      waiting--;
    }
  };
  const usable = (): Kept | undefined =>
    kept !== undefined && clock.now() - kept.readAtMs < KEYS_MAX_AGE_MS ? kept : undefined;
  const away = () =>
    new OperatingError('unreachable', 'safe', `reading the keys of ${issuer}`, {
      cause: kept === undefined ? 'none were read yet' : `those that were read are older than ${KEYS_MAX_AGE_MS} ms`,
      mend: 'look whether the issuer answers, and what the log says of it',
    });
  return {
    keyOf: async (header, token) => {
      if (usable() === undefined) await renew();
      const now = usable();
      if (now === undefined) throw away();
      return now.keyOf(header, token);
    },
    renew,
    state: () => {
      const now = usable();
      if (now === undefined) throw away();
      const age = Math.round((clock.now() - now.readAtMs) / 1000);
      return `${now.count} keys, read ${age} s ago${lastFailed ? '; the issuer does not answer' : ''}`;
    },
    follow: async (signal) => {
      while (!signal.aborted) {
        if (kept === undefined || clock.now() - kept.readAtMs >= KEYS_REFRESH_MS) await renew();
        if (kept !== undefined) watch.ageSeconds((clock.now() - kept.readAtMs) / 1000);
        await clock.sleep(LOOK_EVERY_MS, signal);
      }
    },
  };
}

/** Shared secrets are no keys of an issuer: a token that is signed with a published text proves nothing. Nor is a key that only encrypts. */
function usableKeys(document: JSONWebKeySet): JSONWebKeySet {
  const keys = document.keys.filter(({ kty, use }) => kty !== 'oct' && use !== 'enc');
  if (keys.length === 0) throw new Error('the issuer publishes no key that signs');
  // What is private in it, by mistake, is not kept.
  return { keys: keys.map(({ d: _d, p: _p, q: _q, dp: _dp, dq: _dq, qi: _qi, ...published }) => published) };
}

async function fetchKeys(options: IssuerKeysOptions): Promise<JSONWebKeySet> {
  const { issuer } = options;
  const found = await fetchJson(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, options);
  const wrong = check(Discovery, found);
  if (wrong.length > 0)
    throw new Error(`the issuer's discovery document is not one: ${wrong[0]?.field} ${wrong[0]?.problem}`);
  const { issuer: named, jwks_uri: at } = found as { issuer: string; jwks_uri: string };
  if (named !== issuer) throw new Error('the discovery document is of another issuer');
  const keys = await fetchJson(at, options);
  const bad = check(KeySet, keys);
  if (bad.length > 0) throw new Error(`the issuer's keys are not a key set: ${bad[0]?.field} ${bad[0]?.problem}`);
  return keys as JSONWebKeySet;
}

async function fetchJson(text: string, { ca }: IssuerKeysOptions): Promise<unknown> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && isLoopbackHost(url.hostname));
  if (url === undefined || !isSafe || url.username !== '' || url.password !== '')
    throw new Error('the issuer names an address for its keys that is not https');
  const client = openHttpClient({
    origin: url.origin,
    ...(ca === undefined ? {} : { tls: { ca } }),
    maxConnections: 1,
  });
  try {
    const path = `${url.pathname}${url.search}`;
    const reply = await client.json({
      method: 'GET',
      path,
      timeoutMs: FETCH_TIMEOUT_MS,
      maxReplyBytes: MAX_DOCUMENT_BYTES,
    });
    if (reply.status !== 200) throw new Error(`${url.origin} answers ${reply.status}`);
    return reply.body;
  } finally {
    await client.close();
  }
}
