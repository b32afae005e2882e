import { storeCode } from '../../artifacts/code.ts';
import { exportBundle } from '../../ledger/audit/export.ts';
import { type RootKey, rootsText } from '../../ledger/audit/roots.ts';
import type { Database } from '../../platform/postgres.ts';
import type { Signer } from '../../platform/signer.ts';
import { eventRows } from './rooms/audit-view.sql.ts';
import type { RoomPorts } from './rooms/base.ts';
import { documentsOf } from './rooms/documents.ts';
import { eventsAfter, feedHead, positionNow } from './rooms/event-feed.sql.ts';
import { artifactsOf } from './rooms/job-artifacts.ts';
import { jobsOf } from './rooms/jobs.ts';
import { poolsOf } from './rooms/pools.ts';
import { reportsOf } from './rooms/reports.ts';
import { rolloutsOf } from './rooms/rollouts.ts';
import { scoringOf } from './rooms/scoring.ts';
import type { AuditService, Services, View } from './services.ts';

/** What the server's wiring brings: the services that are ports themselves, and the ports that the rooms work on. */
export type ServerPorts = Omit<
  Services,
  'jobs' | 'artifacts' | 'reports' | 'scoring' | 'rollouts' | 'pools' | 'documents' | 'audit' | 'events' | 'code'
> &
  RoomPorts & { readonly signer: Pick<Signer, 'keyId' | 'algorithm' | 'publicKey'> };

/** The services of the HTTP server, bound to the rooms: `buildHttpServer(roomServices(ports))`. */
export function roomServices(ports: ServerPorts): Services {
  return {
    ...ports,
    jobs: jobsOf(ports),
    artifacts: artifactsOf(ports),
    reports: reportsOf(ports),
    scoring: scoringOf(ports),
    rollouts: rolloutsOf(ports),
    pools: poolsOf(),
    documents: documentsOf(ports.providers),
    audit: auditOf(ports),
    events: {
      now: (tx, caller) => positionNow(tx, caller.identity.tenant),
      after: (tx, caller, position, filter) => eventsAfter(tx, caller.identity.tenant, position, filter),
      head: feedHead,
    },
    code: { put: async (_caller, packed) => ({ code: `code:${await storeCode(ports.store, packed)}` }) },
  };
}

function auditOf({ db, signer }: ServerPorts): AuditService {
  return {
    events: (tx, caller, filter, page) => eventRows(tx, caller.identity.tenant, filter, page),
    roots: async () => JSON.parse(rootsText([await rootKey(db, signer)])) as View,
    exportBundle: async function* () {
      for await (const line of exportBundle(db)) yield Buffer.from(line, 'utf8');
    },
  };
}

const DAY_MS = 86_400_000;

/** The signing key, valid from the day of the installation's first event. */
async function rootKey(db: Database, signer: ServerPorts['signer']): Promise<RootKey> {
  const [row] = await db.asEngine((tx) =>
    tx.query<{ first: Date | null }>('select min(recorded_at) as first from audit_events'),
  );
  const validFromMs = Math.floor((row?.first?.getTime() ?? 0) / DAY_MS) * DAY_MS;
  const { keyId, algorithm, publicKey } = signer;
  return { keyId, algorithm, publicKey, validFromMs, validToMs: undefined };
}
