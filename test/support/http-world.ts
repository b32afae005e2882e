import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { roomServices } from '../../api/http/rooms.ts';
import { buildHttpServer } from '../../api/http/server.ts';
import type { Services } from '../../api/http/services.ts';
import { openSigningKeys } from '../../ledger/audit/signing-keys.ts';
import { type Clock, systemClock } from '../../platform/clock.ts';
import type { BacklogLimits } from '../../platform/config-doors.ts';
import { createTopic, openPostgresEventLog } from '../../platform/event-log-postgres.ts';
import type { Feature } from '../../platform/features.ts';
import { openFileObjectStore } from '../../platform/object-store/files.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { openTenantReads } from '../../platform/postgres-reads.ts';
import { openFileSigner } from '../../platform/signer-file.ts';
import { openFileWitness } from '../../platform/witness-files.ts';
import type { ThereCapacity } from '../../pools/pool-health.ts';
import { optionRefusals } from '../../providers/option-refusals.ts';
import type { Offer, Provider } from '../../providers/provider.ts';
import { providerRefusals } from '../../providers/registry.ts';
import { QueueView } from '../../scheduler/apply/queue-view.ts';
import { BacklogWatch } from '../../scoring/ingest/backlog.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { NO_REALTIME_METRICS } from '../../scoring/realtime/metrics.ts';
import { RecentCommits } from '../../scoring/realtime/recent-commits.ts';
import { type TestDatabase, testDatabase } from './db.ts';

const QUIET = { info: () => {}, warn: () => {}, error: () => {} };

export type HttpWorld = Awaited<ReturnType<typeof httpWorld>>;

/** The HTTP server on real Postgres with two tenants, and no provider that runs but the given one. */
export async function httpWorld(
  features: readonly Feature[] = [],
  over: {
    readonly store?: ObjectStore;
    readonly running?: Provider;
    readonly backlog?: Partial<BacklogLimits>;
    readonly clock?: Clock;
    /** How callers are known that do not come by `call`. */
    readonly identify?: Services['identify'];
    /** Of another world, which has put into it what it needs, and closes it. */
    readonly database?: TestDatabase;
  } = {},
) {
  const database = over.database ?? (await testDatabase());
  const { db, urls } = database;
  if (over.database === undefined)
    await db.asEngine(async (tx) => {
      await tx.execute("insert into tenants (tenant) values ('acme'), ('rival')");
      await createTopic(tx, REPORTS_TOPIC, 1);
    });
  const folder = await mkdtemp(join(tmpdir(), 'merit-http-'));
  const eventLog = openPostgresEventLog({ db, listenUrl: urls.engine, appendAs: 'engine' });
  const reads = openTenantReads(urls.app);
  const store = over.store ?? (await openFileObjectStore({ root: join(folder, 'objects') }));
  const backlog = new BacklogWatch({
    db,
    eventLog,
    clock: systemClock,
    limits: { messages: 1e9, bytes: 1e15, ageMs: 1e9, ...over.backlog },
    metrics: { backlog: () => {}, refused: () => {} },
    log: QUIET,
  });
  const provider: { away: string | undefined; offers: readonly Offer[]; there: readonly ThereCapacity[] } = {
    away: undefined,
    offers: [],
    there: [],
  };
  const health = async () => ({ away: provider.away, there: provider.there });
  const signer = await openFileSigner({ path: join(folder, 'signer.key'), create: true });
  const app = buildHttpServer(
    roomServices({
      version: '0.0.0-test',
      clock: over.clock ?? systemClock,
      db,
      log: { info: () => {}, warn: () => {}, error: (fields) => console.error(fields) },
      metrics: {
        request: () => {},
        rejected: () => {},
        streams: () => {},
        streamEnded: () => {},
        expose: async () => ({ contentType: 'text/plain', body: '' }),
      },
      reads,
      realtimeMetrics: NO_REALTIME_METRICS,
      recentCommits: new RecentCommits(),
      features: new Set(features),
      environment: 'merit-test',
      signingMetrics: { signed: () => {}, refused: () => {} },
      cursorSecret: Buffer.alloc(32, 1),
      allowedHosts: [],
      identify: async (presented) => {
        const tenant = /^Bearer token-of-(acme|rival)-0123456789$/.exec(presented.authorization ?? '')?.[1];
        if (tenant === undefined) return over.identify?.(presented) ?? { refused: 'missing' };
        return {
          principal: `token:${tenant}`,
          tenant,
          functions: ['read', 'submit', 'report', 'operate', 'audit'],
          producers: 'any',
        };
      },
      denied: () => {},
      limitRate: async () => ({ allowed: true, limit: 9, remaining: 8, resetMs: 0, retryAfterMs: 0 }),
      readiness: async () => [],
      store,
      eventLog,
      backlog,
      keys: await openSigningKeys(db, signer, await openFileSigner({ path: join(folder, 'next.key'), create: true })),
      witness: await openFileWitness({ dir: join(folder, 'witness') }),
      queues: new QueueView({ db, clock: systemClock, providers: { health } }),
      providers: {
        of: async () => {
          if (over.running === undefined) throw new Error('no provider runs in this test');
          return over.running;
        },
        refusals: (_, declared) => providerRefusals(declared, []),
        optionRefusals: (options, kinds) => optionRefusals(options, kinds, []),
        health,
        offers: async () => provider.offers,
      },
    }),
  );
  let keys = 0;
  return {
    database,
    /** Of the audit trail, which nothing seals by itself here. */
    signer,
    app,
    store,
    eventLog,
    backlog,
    /** Why it is away, what it asks for and what it has, as the server is told. */
    provider,
    /** As the tenant acme, unless another is named; a POST gets a key of its own. */
    call: (
      method: 'GET' | 'POST' | 'PUT' | 'DELETE',
      url: string,
      body?: unknown,
      headers: Readonly<Record<string, string>> = {},
      tenant: 'acme' | 'rival' = 'acme',
    ) =>
      app.inject({
        method,
        url,
        headers: {
          host: 'localhost',
          authorization: `Bearer token-of-${tenant}-0123456789`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(method === 'POST' ? { 'idempotency-key': `key-${++keys}` } : {}),
          ...headers,
        },
        ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
      }),
    count: async (table: string) => {
      const [row] = await db.asEngine((tx) => tx.query<{ n: bigint }>(`select count(*) as n from ${table}`));
      return Number(row?.n);
    },
    close: async () => {
      await app.close();
      await reads.close();
      await eventLog.close();
      if (over.database === undefined) await database.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
