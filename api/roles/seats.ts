import { runSequencer } from '../../ledger/audit/sequencer.ts';
import { financeReports } from '../../peers/finance/reports.ts';
import type { Seat } from '../../platform/nominator.ts';
import { watchQuotas } from '../../pools/watch-quotas.ts';
import { watchEtas } from '../../scheduler/apply/eta-record.sql.ts';
import { watchProposals } from '../../scheduler/signatures/watch.sql.ts';
import { runArchiver } from '../../scoring/archive/archiver.ts';
import { expireQuarantine } from '../../scoring/ingest/expire-quarantine.ts';
import { runResending } from '../../scoring/ingest/parked.sql.ts';
import { runRetrains } from '../../scoring/retrain/retrain-worker.ts';
import { collectionLoop } from './collection-loop.ts';
import { downstreamLoop, downstreamSweeps } from './downstream.ts';
import { allocatorLoop, type LeaderLoop, reconcilerLoop } from './engine.ts';
import { financeReportLoop } from './finance-report.ts';
import { noticeLoops } from './notices.ts';
import type { ServerParts } from './parts.ts';
import type { ServerOptions } from './server-options.ts';
import { sweepLoop } from './sweeps.ts';

/** What this process runs where it leads, by seat. A seat that is absent is left to others. */
export function seatsOf(options: ServerOptions, parts: ServerParts): ReadonlyMap<Seat, readonly LeaderLoop[]> {
  const { roles } = options.config;
  const seats = new Map<Seat, readonly LeaderLoop[]>();
  if (roles.has('allocator')) seats.set('engine', engineSeat(options, parts));
  if (roles.has('reconciler')) seats.set('reconciler', [reconcilerLoop(parts.saga)]);
  if (roles.has('ingest')) seats.set('archive', archiveSeat(options, parts));
  // Whoever writes events stands ready to seal them.
  if (seats.size > 0) seats.set('audit', auditSeat(options, parts));
  return seats;
}

/** Bookings, the retrains that are booked, and what is told of both. */
function engineSeat({ engineUrl, clock, log }: ServerOptions, parts: ServerParts): readonly LeaderLoop[] {
  const { db, metrics, saga, reading } = parts;
  const watched = { db, clock, log };
  return [
    allocatorLoop(saga, engineUrl),
    { name: 'retrains', run: (epoch, signal) => runRetrains({ ...reading, epoch }, signal) },
    { name: 'quotas', run: (epoch, signal) => watchQuotas({ ...watched, epoch, metrics: metrics.quotas }, signal) },
    { name: 'etas', run: (_epoch, signal) => watchEtas({ ...watched, metrics: metrics.etas }, signal) },
    { name: 'proposals', run: (_epoch, signal) => watchProposals({ ...watched, metrics: metrics.signing }, signal) },
  ];
}

/** Reports that are kept for good, and those that were set aside and are on their way back. */
function archiveSeat({ config, clock, log }: ServerOptions, parts: ServerParts): readonly LeaderLoop[] {
  const { db, eventLog, store, metrics, reading } = parts;
  // Another log than the embedded one has a retention of its own.
  const policy = config.eventLog.kind === 'embedded' ? config.archive : { ...config.archive, logKeepMs: null };
  const archive = { db, clock, eventLog, log, store, policy, metrics: metrics.archive };
  return [
    { name: 'archiver', run: (epoch, signal) => runArchiver({ ...archive, epoch }, signal) },
    { name: 'resending', run: (epoch, signal) => runResending({ ...reading, epoch }, signal) },
  ];
}

/** The trail: it is sealed, witnessed, told to others, and published; and what has outlived its time is removed. */
function auditSeat(options: ServerOptions, parts: ServerParts): readonly LeaderLoop[] {
  const { config, clock, log } = options;
  const { db, eventLog, store, keys, metrics } = parts;
  const { quarantineRetentionMs } = config.ingest;
  const { everyMs } = config.collection;
  const sealing = {
    db,
    signer: keys.signer,
    keys,
    clock,
    checkpointEveryMs: config.intervals.checkpointMs,
    watch: metrics.sequencer(log),
  };
  return [
    { name: 'sequencer', run: (epoch, signal) => runSequencer({ ...sealing, epoch }, signal) },
    ...parts.witness.loops,
    ...noticeLoops({ db, clock, log, watch: metrics.notices }, options.told),
    financeReportLoop({
      db,
      clock,
      log,
      reports: financeReports({ http: options.finance }),
      watch: metrics.financeReports,
    }),
    downstreamLoop({
      db,
      clock,
      eventLog,
      installation: options.instanceId,
      // A log on Kafka is of the tenants that it is told of.
      tenants: config.eventLog.kind === 'kafka' ? [config.tenant, ...config.eventLog.tenants] : undefined,
      watch: metrics.publisher(log),
    }),
    sweepLoop(
      { clock, log },
      {
        quarantine: (epoch, nowMs) => expireQuarantine(db, epoch, nowMs - quarantineRetentionMs),
        ...downstreamSweeps(db, config.downstream.retentionMs),
      },
    ),
    ...(everyMs === null ? [] : [collectionLoop({ db, store, clock, log, policy: { ...config.collection, everyMs } })]),
  ];
}
