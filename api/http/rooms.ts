import { storeCode } from '../../artifacts/code.ts';
import { type AuditPorts, auditOf } from './rooms/audit.ts';
import type { RoomPorts } from './rooms/base.ts';
import { documentsOf } from './rooms/documents.ts';
import { eventsAfter, feedHead, positionNow } from './rooms/event-feed.sql.ts';
import { finopsOf } from './rooms/finops.ts';
import { artifactsOf } from './rooms/job-artifacts.ts';
import { jobsOf } from './rooms/jobs.ts';
import { poolsOf } from './rooms/pools.ts';
import { type ProposalPorts, proposalsOf } from './rooms/proposals.ts';
import { QUARANTINE } from './rooms/quarantine.ts';
import { REPLAYS } from './rooms/replays.ts';
import { reportsOf } from './rooms/reports.ts';
import { rolloutsOf } from './rooms/rollouts.ts';
import { scoringOf } from './rooms/scoring.ts';
import type { Services } from './services.ts';

/** What the server's wiring brings: the services that are ports themselves, and the ports that the rooms work on. */
export type ServerPorts = Omit<
  Services,
  | 'jobs'
  | 'artifacts'
  | 'reports'
  | 'quarantine'
  | 'replays'
  | 'scoring'
  | 'rollouts'
  | 'pools'
  | 'documents'
  | 'proposals'
  | 'audit'
  | 'finops'
  | 'events'
  | 'code'
> &
  RoomPorts &
  AuditPorts &
  Omit<ProposalPorts, 'log'>;

/** The services of the HTTP server, bound to the rooms: `buildHttpServer(roomServices(ports))`. */
export function roomServices(ports: ServerPorts): Services {
  return {
    ...ports,
    jobs: jobsOf(ports),
    artifacts: artifactsOf(ports),
    reports: reportsOf(ports),
    quarantine: QUARANTINE,
    replays: REPLAYS,
    scoring: scoringOf(ports),
    rollouts: rolloutsOf(ports),
    pools: poolsOf(ports),
    documents: documentsOf(ports.providers),
    proposals: proposalsOf(ports),
    audit: auditOf(ports),
    finops: finopsOf(ports.db),
    events: {
      now: (tx, caller) => positionNow(tx, caller.identity.tenant),
      after: (tx, caller, position, filter) => eventsAfter(tx, caller.identity.tenant, position, filter),
      head: feedHead,
    },
    code: { put: async (_caller, packed) => ({ code: `code:${await storeCode(ports.store, packed)}` }) },
  };
}
