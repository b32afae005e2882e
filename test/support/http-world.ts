import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { roomServices } from '../../api/http/rooms.ts';
import { buildHttpServer } from '../../api/http/server.ts';
import { systemClock } from '../../platform/clock.ts';
import { createTopic, openPostgresEventLog } from '../../platform/event-log-postgres.ts';
import type { Feature } from '../../platform/features.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { openFileObjectStore } from '../../platform/object-store-files.ts';
import { openTenantReads } from '../../platform/postgres-reads.ts';
import { openFileSigner } from '../../platform/signer-file.ts';
import type { Offer, Provider } from '../../providers/provider.ts';
import { providerRefusals } from '../../providers/registry.ts';
import { QueueView } from '../../scheduler/apply/queue-view.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { NO_REALTIME_METRICS } from '../../scoring/realtime/metrics.ts';
import { testDatabase } from './db.ts';

export type HttpWorld = Awaited<ReturnType<typeof httpWorld>>;

/** The HTTP server on real Postgres with two tenants, and no provider that runs but the given one. */
export async function httpWorld(
  features: readonly Feature[] = [],
  over: { readonly store?: ObjectStore; readonly running?: Provider } = {},
) {
  const database = await testDatabase();
  const { db, urls } = database;
  await db.asEngine(async (tx) => {
    await tx.execute("insert into tenants (tenant) values ('acme'), ('rival')");
    await createTopic(tx, REPORTS_TOPIC, 1);
  });
  const folder = await mkdtemp(join(tmpdir(), 'merit-http-'));
  const eventLog = openPostgresEventLog({ db, listenUrl: urls.engine, appendAs: 'engine' });
  const reads = openTenantReads(urls.app);
  const store = over.store ?? (await openFileObjectStore({ root: join(folder, 'objects') }));
  const provider: { away: string | undefined; offers: readonly Offer[] } = { away: undefined, offers: [] };
  const away = async () => provider.away;
  const app = buildHttpServer(
    roomServices({
      version: '0.0.0-test',
      clock: systemClock,
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
      features: new Set(features),
      cursorSecret: Buffer.alloc(32, 1),
      allowedHosts: [],
      identify: async (authorization) => {
        const tenant = /^Bearer token-of-(acme|rival)-0123456789$/.exec(authorization ?? '')?.[1];
        return tenant === undefined
          ? undefined
          : {
              principal: `token:${tenant}`,
              tenant,
              functions: ['read', 'submit', 'report', 'operate'],
              producers: 'any',
            };
      },
      readiness: async () => [],
      store,
      eventLog,
      signer: await openFileSigner({ path: join(folder, 'signer.key'), create: true }),
      queues: new QueueView({ db, clock: systemClock, providers: { away } }),
      providers: {
        of: async () => {
          if (over.running === undefined) throw new Error('no provider runs in this test');
          return over.running;
        },
        refusals: (declared) => providerRefusals(declared, []),
        away,
        offers: async () => provider.offers,
      },
    }),
  );
  let keys = 0;
  return {
    database,
    app,
    store,
    eventLog,
    /** Why it is away and what it asks for, as the server is told. */
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
      await database.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
