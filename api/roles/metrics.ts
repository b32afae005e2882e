import { TRANSITIONS } from '../../core/booking.ts';
import { OPERATING_CODES, OperatingError } from '../../core/operating-error.ts';
import type { SequencerWatch } from '../../ledger/audit/sequencer.ts';
import type { WitnessWatch } from '../../ledger/audit/witness-loop.ts';
import type { PublisherWatch } from '../../ledger/outbox/publisher.ts';
import { FAULTS } from '../../platform/kafka/client.ts';
import type { KafkaWatch } from '../../platform/kafka/event-log.ts';
import type { Metrics } from '../../platform/metrics.ts';
import { SEATS, type Seat } from '../../platform/nominator.ts';
import type { S3StoreWatch } from '../../platform/object-store/s3-place.ts';
import type { FailoverWatch } from '../../platform/rate-limit-failover.ts';
import type { SignerWatch } from '../../platform/signer-watch.ts';
import {
  MAX_BUDGET_GAUGES,
  MAX_FLAVOURS,
  MAX_OWNERS,
  MAX_TENANTS,
  type QuotaMetrics,
} from '../../pools/watch-quotas.ts';
import { PROVIDER_ERROR_CODES, VERB_NAMES } from '../../providers/provider.ts';
import type { Log, SagaMetrics } from '../../scheduler/apply/context.ts';
import type { EtaMetrics } from '../../scheduler/apply/eta-record.sql.ts';
import { REFUSALS_OF_A_PLACE } from '../../scheduler/apply/failover.ts';
import type { NoticeWatch } from '../../scheduler/notices/push-trail.ts';
import type { WaitingMetrics } from '../../scheduler/signatures/watch.sql.ts';
import type { ArchiveMetrics } from '../../scoring/archive/context.ts';
import { archiveMetrics } from '../../scoring/archive/metrics.ts';
import type { RecomputeMetrics } from '../../scoring/batch/context.ts';
import { recomputeMetrics } from '../../scoring/batch/metrics.ts';
import type { ScoringMetrics } from '../../scoring/context.ts';
import { type BacklogMetrics, backlogMetrics } from '../../scoring/ingest/backlog.ts';
import { scoringMetrics } from '../../scoring/metrics.ts';
import { type RealtimeMetrics, realtimeMetrics } from '../../scoring/realtime/metrics.ts';
import type { ReplayMetrics } from '../../scoring/replay/context.ts';
import { replayMetrics } from '../../scoring/replay/metrics.ts';
import { failoverWatch } from '../http/rate-limits.ts';
import type { SigningMetrics } from '../http/rooms/proposals.ts';
import { type HttpMetrics, STREAM_ENDS } from '../http/services.ts';
import { signingMetrics } from '../http/signing-metrics.ts';
import { publisherMetrics } from './downstream.ts';
import { type ReportWatch, reportMetrics } from './finance-report.ts';
import { noticeMetrics } from './notices.ts';
import type { PoolProvidersWatch } from './provider-source.ts';

/** Distinct refusal codes and routes are closed sets of the code; this only bounds a mistake. */
const MAX_CODES = 200;
const MAX_ROUTES = 100;
/** Of providers, those of packages too. */
const MAX_KINDS = 32;

export interface ServerMetrics {
  readonly http: HttpMetrics;
  readonly saga: SagaMetrics;
  readonly quotas: QuotaMetrics;
  readonly etas: EtaMetrics;
  readonly signing: SigningMetrics & WaitingMetrics;
  readonly scoring: ScoringMetrics;
  readonly backlog: BacklogMetrics;
  readonly realtime: RealtimeMetrics;
  readonly recompute: RecomputeMetrics;
  readonly replay: ReplayMetrics;
  readonly archive: ArchiveMetrics;
  readonly store: S3StoreWatch;
  readonly kafka: KafkaWatch;
  readonly signer: SignerWatch;
  witness(log: Log): WitnessWatch;
  sequencer(log: Log): SequencerWatch;
  rates(log: Log): FailoverWatch;
  publisher(log: Log): PublisherWatch;
  readonly notices: NoticeWatch;
  readonly financeReports: ReportWatch;
  readonly providers: PoolProvidersWatch;
  leading(seat: Seat, leads: boolean): void;
}

/** Every metric of the server, under its Prometheus name. */
export function serverMetrics(metrics: Metrics): ServerMetrics {
  const leader = metrics.gauge('merit_leader', '1 where this process leads', {
    seat: SEATS,
  });
  const rejected = metrics.counter('rejected_total', 'Bad input refused', {
    surface: ['http', 'log'],
    code: { atMost: MAX_CODES },
  });
  return {
    http: httpMetrics(metrics, (code) => rejected({ surface: 'http', code })),
    saga: sagaMetrics(metrics),
    quotas: quotaMetrics(metrics),
    etas: etaMetrics(metrics),
    signing: signingMetrics(metrics),
    scoring: scoringMetrics(metrics, (code, count) => rejected({ surface: 'log', code }, count)),
    backlog: backlogMetrics(metrics),
    realtime: realtimeMetrics(metrics),
    recompute: recomputeMetrics(metrics),
    replay: replayMetrics(metrics),
    archive: archiveMetrics(metrics),
    store: storeWatch(metrics),
    kafka: kafkaWatch(metrics),
    signer: signerWatch(metrics),
    witness: witnessWatch(metrics),
    sequencer: sequencerWatch(metrics),
    rates: (log) => failoverWatch(metrics, log),
    publisher: publisherMetrics(metrics),
    notices: noticeMetrics(metrics),
    financeReports: reportMetrics(metrics),
    providers: providerMetrics(metrics),
    leading: (seat, leads) => leader({ seat }, leads ? 1 : 0),
  };
}

function providerMetrics(metrics: Metrics): PoolProvidersWatch {
  const calls = metrics.histogram('merit_provider_call_seconds', 'Calls of providers by how they ended', {
    kind: { atMost: MAX_KINDS },
    verb: [...VERB_NAMES, 'extend', 'usage'],
    outcome: ['ok', ...PROVIDER_ERROR_CODES],
  });
  const there = metrics.gauge('merit_pool_present_units', 'What pools’ providers say is there, whoever uses it', {
    tenant: { atMost: MAX_TENANTS },
    flavour: { atMost: MAX_FLAVOURS },
    of: ['total', 'free'],
  });
  return {
    call: (kind, verb, outcome, seconds) => calls({ kind, verb, outcome }, seconds),
    there: ({ tenant, flavour, total, free }) => {
      there({ tenant, flavour, of: 'total' }, total);
      there({ tenant, flavour, of: 'free' }, free);
    },
  };
}

function storeWatch(metrics: Metrics): S3StoreWatch {
  const resumed = metrics.counter(
    'merit_object_store_resumed_total',
    'Parts that a broken upload had brought already, and readings that were taken up where they broke',
    { what: ['part', 'reading'] },
  );
  return {
    partsResumed: (parts) => resumed({ what: 'part' }, parts),
    readResumed: () => resumed({ what: 'reading' }),
  };
}

function kafkaWatch(metrics: Metrics): KafkaWatch {
  const faults = metrics.counter('merit_kafka_faults_total', 'Calls to Kafka that failed, by why', { kind: FAULTS });
  return { fault: (kind) => faults({ kind }) };
}

function httpMetrics(metrics: Metrics, rejected: HttpMetrics['rejected']): HttpMetrics {
  const requests = metrics.histogram('http_request_duration_seconds', 'HTTP requests by route template', {
    route: { atMost: MAX_ROUTES },
    method: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'],
    status_class: ['1xx', '2xx', '3xx', '4xx', '5xx'],
  });
  const streams = metrics.gauge('merit_event_streams', 'Event streams open now', {});
  const ended = metrics.counter('merit_event_streams_ended_total', 'Event streams by why they ended', {
    reason: STREAM_ENDS,
  });
  return {
    streams: (open) => streams({}, open),
    streamEnded: (reason) => ended({ reason }),
    request: (route, method, statusClass, seconds) => requests({ route, method, status_class: statusClass }, seconds),
    rejected,
    expose: () => metrics.expose(),
  };
}

function sagaMetrics(metrics: Metrics): SagaMetrics {
  const transitions = metrics.counter(
    'merit_booking_transitions_total',
    'Transitions of bookings by the state entered',
    { state: Object.keys(TRANSITIONS) },
  );
  const latency = metrics.histogram(
    'merit_allocation_latency_seconds',
    'From the accepted request to the provider’s acceptance, and to applied',
    { stage: ['submitted', 'applied'] },
  );
  const applies = metrics.counter(
    'merit_allocation_applies_total',
    'Reservations that came to be applied, or were undone before',
    { outcome: ['applied', 'undone'] },
  );
  const extensions = metrics.counter('merit_lease_extensions_total', 'Longer leases that were asked for', {
    outcome: ['granted', 'refused'],
  });
  const preemptions = metrics.counter(
    'merit_preemptions_total',
    'Bookings that had to make room, by what became of them',
    {
      how: ['drained', 'undone'],
    },
  );
  const pass = metrics.histogram('merit_planner_pass_seconds', 'One look of the planner at a tenant’s queue', {});
  const halted = metrics.counter(
    'merit_reclaims_halted_total',
    'Looks at jobs that were missing from a provider with so many others that none was given up',
    {},
  );
  const passedOver = metrics.counter(
    'merit_places_passed_over_total',
    'Attempts that a provider refused or took back, so that the next one is tried elsewhere',
    { code: [...REFUSALS_OF_A_PLACE] },
  );
  const differs = metrics.counter(
    'merit_finance_differs_total',
    'Holds that Finance refuses for good to end as the ledger has it',
    {},
  );
  const queue = metrics.gauge('merit_bookings_waiting', 'Bookings that wait', {});
  return {
    transition: (state) => transitions({ state }),
    requestLatency: (stage, seconds) => latency({ stage }, seconds),
    applied: (outcome) => applies({ outcome }),
    extended: (outcome) => extensions({ outcome }),
    preempted: (how) => preemptions({ how }),
    planned: (seconds) => pass({}, seconds),
    waiting: (count) => queue({}, count),
    reclaimHalted: () => halted({}),
    financeDiffers: () => differs({}),
    passedOver: (code) => passedOver({ code }),
  };
}

/** Sampled where this process leads the engine; in units: GPUs, or CPUs where a flavour has none. */
function quotaMetrics(metrics: Metrics): QuotaMetrics {
  // One more of each: what is beyond is told as `other`.
  const labels = {
    tenant: { atMost: MAX_TENANTS },
    owner: { atMost: MAX_OWNERS + 1 },
    flavour: { atMost: MAX_FLAVOURS + 1 },
  } as const;
  const use = metrics.gauge('merit_quota_used_units', 'Used of a quota by a division, or below a group', labels);
  const borrowed = metrics.gauge('merit_quota_borrowed_units', 'Used beyond its own quota', labels);
  const debt = metrics.gauge('merit_quota_drain_debt_units', 'Used beyond a limit that was lowered', labels);
  const spent = metrics.gauge('merit_budget_used_ratio', 'Of a budget’s limit in this period, what is held counted', {
    tenant: { atMost: MAX_TENANTS },
    budget: { atMost: MAX_BUDGET_GAUGES },
  });
  const alerts = metrics.counter('merit_budget_alerts_total', 'Budgets that reached so many per cent of their limit', {
    percent: { atMost: 100 },
  });
  return {
    budget: ({ tenant, budget, usedRatio }) => spent({ tenant, budget }, usedRatio),
    budgetAlert: (percent) => alerts({ percent: String(percent) }),
    quota: ({ tenant, owner, flavour, use: used, borrowed: lent, drainDebt }) => {
      use({ tenant, owner, flavour }, used);
      borrowed({ tenant, owner, flavour }, lent);
      debt({ tenant, owner, flavour }, drainDebt);
    },
  };
}

/** As the records of the pools have it; a pool beyond the bound counts as `other`. */
function etaMetrics(metrics: Metrics): EtaMetrics {
  const labels = { tenant: { atMost: MAX_TENANTS }, pool: { atMost: MAX_POOLS } } as const;
  const told = metrics.gauge('merit_eta_starts', 'Bookings that were told a start time, and have started', labels);
  const held = metrics.gauge('merit_eta_held_ratio', 'Of those, what share started when they were told to', labels);
  const error = metrics.gauge('merit_eta_median_error_seconds', 'How far off the start was, the median', labels);
  return {
    etaRecord: (tenant, record) => {
      if (record.told === 0) return;
      const at = { tenant, pool: record.pool };
      told(at, record.told);
      held(at, record.held / record.told);
      error(at, record.medianErrorSeconds ?? 0);
    },
  };
}

const MAX_POOLS = 200;

function signerWatch(metrics: Metrics): SignerWatch {
  const seconds = metrics.histogram('merit_signer_seconds', 'Signing, of checkpoints and decisions', {});
  const errors = metrics.counter('merit_signer_errors_total', 'Signatures that the signer did not give, by why', {
    code: OPERATING_CODES,
  });
  return { signed: (took) => seconds({}, took), failed: (code) => errors({ code }) };
}

function witnessWatch(metrics: Metrics): (log: Log) => WitnessWatch {
  const seconds = metrics.gauge(
    'merit_audit_witness_lag_seconds',
    'Age of the oldest signed checkpoint that the witness has not seen, nor a later one',
    {},
  );
  const events = metrics.gauge('merit_audit_witness_lag_events', 'Sealed events that the witness has not seen', {});
  const failures = metrics.counter('merit_audit_witness_failures_total', 'Copies to the witness that failed, by why', {
    code: OPERATING_CODES,
  });
  return (log) => ({
    lag: (lag) => {
      seconds({}, lag.seconds);
      events({}, lag.events);
    },
    failed: (code, error) => {
      failures({ code });
      log.warn({ error: String(error) }, 'a checkpoint could not be copied to the witness; it is tried again');
    },
  });
}

function sequencerWatch(metrics: Metrics): (log: Log) => SequencerWatch {
  const events = metrics.counter('merit_audit_events_total', 'Audit events given their place in the log', {});
  const age = metrics.gauge(
    'merit_audit_unsealed_age_seconds',
    'Age of the oldest event under no signed checkpoint',
    {},
  );
  const failures = metrics.counter('merit_audit_failures_total', 'Tries to sequence or sign that failed, by why', {
    code: OPERATING_CODES,
  });
  return (log) => ({
    sequenced: (count) => events({}, count),
    unsealedAge: (seconds) => age({}, seconds),
    sealed: () => {},
    failed: (error, retryInMs) => {
      failures({ code: error instanceof OperatingError ? error.code : 'other' });
      log.warn({ error: String(error), retryInMs }, 'the audit trail could not be sealed; it is tried again');
    },
  });
}
