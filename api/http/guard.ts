import type { ServerResponse } from 'node:http';
import { TLSSocket } from 'node:tls';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ApiFunction } from '../../core/access.ts';
import { MAX_IN_FLIGHT, MAX_TENANT_IN_FLIGHT, RETRY_AFTER_SECONDS, SLOW_READER_MS } from './limits.ts';
import { publicPath } from './openapi.ts';
import { HttpProblem } from './problem.ts';
import { tellRate } from './rate-limits.ts';
import type { Caller, Denial, Identity, Presented, Services, Unidentified } from './services.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The function a caller must hold; absent: `read`. */
    needs?: ApiFunction;
    /** More that a caller must hold beside it. */
    alsoNeeds?: readonly ApiFunction[];
    /** Answered without an identity: health, metrics, the published schema. */
    open?: boolean;
    /** The body is a stream that is never held whole. */
    streamedBody?: boolean;
    /** A POST that happens once for its Idempotency-Key; for the published document. */
    keyed?: boolean;
    /** A PUT that heeds If-Match; for the published document. */
    versioned?: boolean;
  }
  interface FastifyRequest {
    identity: Identity | undefined;
  }
}

const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]']);

/** Host header without its port, lower case; undefined where it is none. */
function hostOf(header: string | undefined): string | undefined {
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?$/.exec(header ?? '');
  return match?.[1]?.toLowerCase();
}

/** Host, identity, rate and function, in this order, before a body is read. */
export function guardRequests(app: FastifyInstance, services: Services): void {
  const hosts = new Set([...LOOPBACK, ...services.allowedHosts.map((host) => host.toLowerCase())]);
  let inFlight = 0;
  const ofTenants = new Map<string, number>();
  app.decorateRequest('identity', undefined);
  app.addHook('onRequest', async (request, reply) => {
    inFlight++;
    onceOver(reply.raw, () => {
      inFlight--;
    });
    cutStalled(reply.raw, SLOW_READER_MS);
    if (hostCount(request.raw.rawHeaders) !== 1) throw new HttpProblem(400, 'host', 'a request needs exactly one Host');
    const host = hostOf(request.headers.host);
    // A page on another site that resolves its own name to loopback must not reach us (DNS rebinding).
    if (host === undefined || !hosts.has(host))
      throw new HttpProblem(421, 'host', 'this server does not answer for that Host');
    const config = request.routeOptions.config;
    if (config?.open === true) return;
    if (inFlight > MAX_IN_FLIGHT) throw overloaded('too many requests at once; come back');
    const needs = config?.needs ?? 'read';
    const denial = (why: Denial['why'], of: Pick<Denial, 'tenant' | 'principal'>): Denial => ({
      ...of,
      why,
      needs,
      route: publicPath(request.routeOptions.url ?? 'none'),
      method: request.method,
      traceId: request.id,
    });
    const identity = await services.identify(presentedBy(request));
    if ('refused' in identity) {
      const principal = identity.refused === 'stranger' ? identity.principal : undefined;
      services.denied(denial(identity.refused, { tenant: undefined, principal }));
      throw unrecognised(identity);
    }
    request.identity = identity;
    const others = ofTenants.get(identity.tenant) ?? 0;
    if (others >= MAX_TENANT_IN_FLIGHT) throw overloaded('too many requests of this tenant at once; come back');
    ofTenants.set(identity.tenant, others + 1);
    onceOver(reply.raw, () => {
      const left = (ofTenants.get(identity.tenant) ?? 1) - 1;
      if (left === 0) ofTenants.delete(identity.tenant);
      else ofTenants.set(identity.tenant, left);
    });
    tellRate(reply, await services.limitRate(identity));
    const lacks = lackOf(identity, request);
    if (lacks === undefined) return;
    const { tenant, principal } = identity;
    services.denied({ ...denial('function', { tenant, principal }), needs: lacks });
    throw new HttpProblem(403, 'forbidden', `this identity may not ${lacks}`, {
      headers: challenge('insufficient_scope', `it takes the function ${lacks}`),
    });
  });
}

function overloaded(problem: string): HttpProblem {
  return new HttpProblem(503, 'overloaded', problem, { headers: { 'retry-after': String(RETRY_AFTER_SECONDS) } });
}

function presentedBy(request: FastifyRequest): Presented {
  const { socket } = request.raw;
  return { authorization: request.headers.authorization, tls: socket instanceof TLSSocket ? socket : undefined };
}

/**
 * Whether who asked may have this answer still, for one that goes on long after its request was let in. Where nobody knows, they may not: a request of theirs would
 * not be let in now either.
 */
export async function mayStill(services: Services, request: FastifyRequest): Promise<boolean> {
  const before = callerOf(services, request).identity;
  const identity = await services.identify(presentedBy(request));
  if ('refused' in identity || identity.tenant !== before.tenant || identity.principal !== before.principal)
    return false;
  return lackOf(identity, request) === undefined;
}

/** The first function that the route takes and the identity has not; undefined: it has all. */
function lackOf({ functions }: Identity, { routeOptions }: FastifyRequest): ApiFunction | undefined {
  const { needs = 'read', alsoNeeds = [] } = routeOptions.config ?? {};
  return [needs, ...alsoNeeds].find((one) => !functions.includes(one));
}

/** RFC 6750, 3: what the sender can do about it; nothing of who else is known. */
function unrecognised(identity: Unidentified): HttpProblem {
  switch (identity.refused) {
    case 'missing':
      return new HttpProblem(401, 'unauthenticated', SEND_TOKEN, { headers: challenge() });
    case 'invalid':
      return new HttpProblem(401, 'unauthenticated', identity.why, {
        headers: challenge('invalid_token', identity.why),
      });
    case 'stranger':
      return new HttpProblem(403, 'forbidden', identity.why, {
        headers: challenge('insufficient_scope', identity.why),
      });
    case 'away':
      return new HttpProblem(503, 'identity_away', identity.why, {
        headers: { 'retry-after': String(RETRY_AFTER_SECONDS) },
      });
  }
}

const SEND_TOKEN = 'send Authorization: Bearer with the token from the state folder, or of your identity provider';

/** The words are ours and hold neither quotes nor backslashes. */
function challenge(error?: string, description?: string): Readonly<Record<string, string>> {
  const told = error === undefined ? '' : `, error="${error}", error_description="${description}"`;
  return { 'www-authenticate': `Bearer realm="merit"${told}` };
}

/** Cuts an answer off of which its caller has taken nothing within the time, though some waits: it would be one of those answered at a time for as long as they like. */
export function cutStalled(answer: ServerResponse, limitMs: number): void {
  answer.setTimeout(limitMs, () => {
    // Also called where nothing came or went because the answer is not there yet.
    if (answer.writableLength > 0) answer.socket?.destroy();
  });
}

/** Runs once the answer was sent, or the caller went away before: `onResponse` alone never tells of the latter. */
export function onceOver(answer: ServerResponse, work: (cut: boolean) => void): void {
  let over = false;
  const end = (cut: boolean) => {
    if (over) return;
    over = true;
    work(cut);
  };
  answer.once('finish', () => end(false));
  answer.once('close', () => end(!answer.writableFinished));
}

/** Ends when the answer is over, sent or cut: what only it was for can stop. */
export function whileAnswering(answer: ServerResponse): AbortSignal {
  const over = new AbortController();
  answer.once('close', () => over.abort());
  return over.signal;
}

/** RFC 9112, 3.2: with none or several a request is not sound; two readers of it could take it for two places. */
function hostCount(rawHeaders: readonly string[]): number {
  return rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === 'host').length;
}

/** Who asks, for a route behind the guard. */
export function callerOf(services: Services, request: FastifyRequest): Caller {
  const identity = request.identity;
  if (identity === undefined) throw new HttpProblem(401, 'unauthenticated', SEND_TOKEN);
  return { identity, traceId: request.id, nowMs: services.clock.now() };
}
