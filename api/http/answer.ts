import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Tx } from '../../platform/postgres.ts';
import type { RouteContext } from './context.ts';
import { makeCursor, readCursor } from './cursor.ts';
import { demandedVersion, etagOf, stale } from './etag.ts';
import { callerOf } from './guard.ts';
import { type Answer, idempotencyKey } from './idempotency.ts';
import { PAGE_DEFAULT } from './limits.ts';
import { notFound } from './problem.ts';
import type { Caller, Page, PutOutcome, Rows, Versioned, View } from './services.ts';

/** Reads in one transaction of the caller's tenant. */
export async function read<T>(
  context: RouteContext,
  request: FastifyRequest,
  work: (tx: Tx, caller: Caller) => Promise<T>,
): Promise<T> {
  const caller = callerOf(context.services, request);
  return context.services.db.asTenant(caller.identity.tenant, (tx) => work(tx, caller));
}

export function found<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw notFound(what);
  return value;
}

/** A page of a list, with the cursor of the next. `list` names the list and its filter, so that a cursor fits no other. */
export async function page(
  context: RouteContext,
  request: FastifyRequest,
  list: string,
  rows: (tx: Tx, caller: Caller, page: Page) => Promise<Rows>,
): Promise<{ readonly items: readonly View[]; readonly nextCursor?: string }> {
  const query = request.query as { limit?: number; cursor?: string };
  const { cursorSecret } = context.services;
  const { tenant } = callerOf(context.services, request).identity;
  const after = query.cursor === undefined ? undefined : readCursor(cursorSecret, tenant, list, query.cursor);
  const got = await read(context, request, (tx, caller) =>
    rows(tx, caller, { limit: query.limit ?? PAGE_DEFAULT, after }),
  );
  if (got.last === undefined) return { items: got.items };
  return { items: got.items, nextCursor: makeCursor(cursorSecret, tenant, list, got.last) };
}

/** A POST that changes something: at most once for its Idempotency-Key, effect and answer in one transaction. */
export async function mutate(
  context: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  work: (tx: Tx, caller: Caller) => Promise<Answer>,
): Promise<FastifyReply> {
  const key = idempotencyKey(request.headers['idempotency-key']);
  const caller = callerOf(context.services, request);
  const { url } = request;
  const stored = await context.idempotency.run(
    { tenant: caller.identity.tenant, key, route: `${request.method} ${url}`, body: request.body },
    (tx) => work(tx, caller),
  );
  reply.code(stored.status).headers(stored.headers);
  if (stored.replayed) reply.header('idempotent-replayed', 'true');
  return reply.send(stored.bytes);
}

/** A GET of something with a version: its ETag, and 304 where the caller has that version already. */
export async function readVersioned(
  context: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  what: string,
  get: (tx: Tx, caller: Caller) => Promise<Versioned | undefined>,
): Promise<FastifyReply> {
  const { version, view } = found(await read(context, request, get), what);
  reply.header('etag', etagOf(version));
  if (request.headers['if-none-match'] === etagOf(version)) return reply.code(304).send();
  return reply.send(view);
}

/** A PUT: 201 made, 200 replaced or as it was; 412 where If-Match names another version. */
export async function put(
  context: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  change: (tx: Tx, caller: Caller, ifVersion: string | undefined) => Promise<PutOutcome>,
): Promise<FastifyReply> {
  const ifVersion = demandedVersion(request.headers);
  const outcome = await read(context, request, async (tx, caller) => {
    const made = await change(tx, caller, ifVersion);
    // Thrown inside, so that a change that turned out stale leaves nothing behind.
    if (made.kind === 'stale') throw stale(made.version);
    return made;
  });
  // Of a try at what is not there yet there is no version.
  if (outcome.version !== '') reply.header('etag', etagOf(outcome.version));
  return reply.code(outcome.kind === 'created' ? 201 : 200).send(outcome.view);
}

/** The filters of a query by name, those that are absent left out. */
export function filterOf<const Names extends readonly string[]>(
  request: FastifyRequest,
  names: Names,
): { readonly [Name in Names[number]]?: string } {
  const query = request.query as Readonly<Record<string, string | undefined>>;
  return Object.fromEntries(names.filter((name) => query[name] !== undefined).map((name) => [name, query[name]])) as {
    readonly [Name in Names[number]]?: string;
  };
}
