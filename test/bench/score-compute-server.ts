import { randomBytes } from 'node:crypto';
import type { RoomPorts } from '../../api/http/rooms/base.ts';
import { scoringOf } from '../../api/http/rooms/scoring.ts';
import { buildHttpServer } from '../../api/http/server.ts';
import { systemClock } from '../../platform/clock.ts';
import { openPostgresEventLog } from '../../platform/event-log-postgres.ts';
import { openDatabase } from '../../platform/postgres.ts';
import { openTenantReads } from '../../platform/postgres-reads.ts';
import { type ConsumerContext, NO_METRICS } from '../../scoring/context.ts';
import { ReaderThread } from '../../scoring/ingest/reader-thread.ts';
import { runConsumer } from '../../scoring/ingest/run-consumer.ts';
import { NO_REALTIME_METRICS } from '../../scoring/realtime/metrics.ts';
import { RecentCommits } from '../../scoring/realtime/recent-commits.ts';
import { fakeServices } from '../unit/api/http/fake-services.ts';
import { TENANT } from './database.ts';

/** The server of the benchmark, a process of its own: the door to real-time scores and, as in `merit start`, the consumer beside it. */

const { appUrl, engineUrl } = JSON.parse(process.argv[2] ?? '{}') as Record<string, string>;
const db = openDatabase({ appUrl: appUrl!, engineUrl: engineUrl!, maxConnections: 10 });
const { services } = fakeServices();
const recentCommits = new RecentCommits();
const scoring = scoringOf({
  db,
  reads: openTenantReads(appUrl!),
  realtimeMetrics: NO_REALTIME_METRICS,
  recentCommits,
} as RoomPorts);
const identity = {
  principal: 'token:bench',
  tenant: TENANT,
  functions: ['read', 'report'] as const,
  producers: 'any' as const,
};
const app = buildHttpServer({
  ...services,
  db,
  clock: systemClock,
  cursorSecret: randomBytes(32),
  identify: async () => identity,
  scoring,
});
const url = await app.listen({ host: '127.0.0.1', port: 0 });
const stop = new AbortController();
const reader = new ReaderThread();
const consuming = runConsumer(
  {
    db,
    holder: 'bench',
    clock: systemClock,
    eventLog: openPostgresEventLog({ db, listenUrl: engineUrl!, appendAs: 'engine' }),
    reader,
    recentCommits,
    metrics: NO_METRICS,
    log: services.log,
  } as ConsumerContext,
  stop.signal,
);
process.once('message', async () => {
  stop.abort();
  await Promise.all([consuming, app.close()]);
  await reader.close();
  await db.close();
  process.exit(0);
});
// Whoever started it is gone.
process.once('disconnect', () => process.exit(1));
process.send?.(url);
