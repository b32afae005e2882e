import { trailAgeMs } from '../../ledger/audit/sequencer.ts';
import type { PeerHttp } from '../../peers/peer-call.ts';
import { POLICY_VERSION_PATH } from '../../peers/sentinelnet/wire.ts';
import type { Clock } from '../../platform/clock.ts';
import type { EventLog } from '../../platform/event-log.ts';
import type { Seat } from '../../platform/nominator.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import type { Database } from '../../platform/postgres.ts';
import { MAX_UNSEALED_MS } from '../../scheduler/apply/limits.ts';
import { ingestStatus } from '../../scoring/ingest/ingest-status.sql.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import type { PartStatus } from '../http/services.ts';

const CHECK_TIMEOUT_MS = 2_000;
const MAX_REPLY_BYTES = 64 * 1024;

export interface ReadinessOptions {
  readonly db: Database;
  readonly store: ObjectStore;
  readonly clock: Clock;
  /** undefined: the embedded log, which lies in Postgres. */
  readonly kafka: EventLog | undefined;
  /** The seats that this process leads. */
  readonly leads: () => ReadonlySet<Seat>;
  /** The seats that it cannot stand for, and why. */
  readonly faults: () => ReadonlyMap<Seat, string>;
  readonly sentinelNet: PeerHttp;
  readonly finance: PeerHttp;
  /** undefined: no identity provider is configured. */
  readonly oidc: { state(): string } | undefined;
  /** undefined: Kernel has no say here. */
  readonly kernel: { state(): string } | undefined;
}

type Check = readonly [name: string, mend: string, look: () => Promise<string>];

/** Every part that work needs, looked at now, each within its own limit. */
export function readiness(options: ReadinessOptions): () => Promise<readonly PartStatus[]> {
  const { db, store, clock, kafka, leads, oidc, kernel } = options;
  const checks: readonly Check[] = [
    [
      'postgres',
      'start Postgres, or check DATABASE_URL',
      async () => db.asEngine((tx) => tx.query('select 1')).then(() => 'answers'),
    ],
    [
      'audit',
      'check the signing key and the server’s log',
      async () => {
        const ageMs = await db.asEngine((tx) => trailAgeMs(tx, clock.now()));
        if (ageMs >= MAX_UNSEALED_MS)
          throw new Error(`the oldest event under no signed checkpoint is ${Math.round(ageMs / 1000)} s old`);
        return 'sealed';
      },
    ],
    [
      'engine',
      'wait for the nomination, look which process leads, or mend what nominates',
      async () => {
        requireStanding(options.faults());
        const rows = await db.asEngine((tx) =>
          tx.query<{ name: Seat; holder: string | null }>('select name, holder from leader_epochs order by name'),
        );
        const vacant = rows.filter((row) => row.holder === null && !leads().has(row.name));
        if (vacant.length > 0) throw new Error(`no process leads ${vacant.map((row) => row.name).join(', ')}`);
        return rows
          .map(({ name, holder }) => (leads().has(name) ? `leads ${name}` : `${holder} leads ${name}`))
          .join('; ');
      },
    ],
    [
      'ingest',
      'start a process with the role ingest, and look at its log',
      () => db.asEngine((tx) => ingestStatus(tx, REPORTS_TOPIC)),
    ],
    ...(kafka === undefined ? [] : [kafkaCheck(kafka)]),
    ['object-store', 'check the folder and the disk', async () => store.head('readyz').then(() => 'reachable')],
    [
      'sentinelnet',
      'start SentinelNet, or check its URL and certificates',
      () => reach(options.sentinelNet, POLICY_VERSION_PATH),
    ],
    [
      'finance',
      'start Finance, or check its URL and certificates',
      () => reach(options.finance, '/v1/holds?tenant=readyz&since=0&limit=1'),
    ],
    ...(oidc === undefined ? [] : [oidcCheck(oidc)]),
    ...(kernel === undefined ? [] : [kernelCheck(kernel)]),
  ];
  return () => Promise.all(checks.map(([name, mend, check]) => statusOf(name, mend, check)));
}

/** Throws where there are seats that this process cannot stand for. */
function requireStanding(faults: ReadonlyMap<Seat, string>): void {
  const seats = Map.groupBy(faults, ([, why]) => why);
  const told = [...seats].map(([why, of]) => `cannot stand for ${of.map(([seat]) => seat).join(', ')}: ${why}`);
  if (told.length > 0) throw new Error(told.join('; '));
}

/** An issuer that is away is told of, and makes nothing unready as long as its keys go on. */
function oidcCheck(oidc: { state(): string }): Check {
  return ['oidc', 'check oidc.issuer and that it answers', async () => oidc.state()];
}

/** A Kernel that is away keeps people out, and nothing of what runs: it is told of, and makes nothing unready. */
function kernelCheck(kernel: { state(): string }): Check {
  return ['kernel', 'start Kernel, or check peers.kernel and its certificate', async () => kernel.state()];
}

function kafkaCheck(log: EventLog): Check {
  const mend = 'start Kafka, or correct eventLog.kafka.brokers';
  return ['kafka', mend, async () => log.end(REPORTS_TOPIC, 0).then(() => 'answers')];
}

async function statusOf(name: string, mend: string, check: () => Promise<string>): Promise<PartStatus> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`did not answer within ${CHECK_TIMEOUT_MS} ms`)), CHECK_TIMEOUT_MS);
  });
  try {
    return { name, ok: true, detail: await Promise.race([check(), late]) };
  } catch (error) {
    return { name, ok: false, detail: error instanceof Error ? error.message : String(error), mend };
  } finally {
    clearTimeout(timer);
  }
}

async function reach(http: PeerHttp, path: string): Promise<string> {
  const reply = await http({
    method: 'GET',
    path,
    headers: { accept: 'application/json' },
    body: undefined,
    timeoutMs: CHECK_TIMEOUT_MS,
    maxReplyBytes: MAX_REPLY_BYTES,
    signal: AbortSignal.timeout(CHECK_TIMEOUT_MS),
  });
  if (reply.status >= 500) throw new Error(`it answers ${reply.status}`);
  return `answers ${reply.status}`;
}
