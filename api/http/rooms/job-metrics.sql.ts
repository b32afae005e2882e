import type { Json } from '../../../core/canonical.ts';
import type { Tx } from '../../../platform/postgres.ts';
import { totalOf, type UsagePoint, type UsageSeries } from '../../../scheduler/apply/usage-series.ts';
import type { View } from '../services.ts';

interface MetricsRow {
  readonly attempt: number;
  readonly pool: string;
  readonly flavour: string;
  readonly provider: string;
  readonly outcome: string | null;
  readonly applied_at: Date | null;
  readonly began_at: Date | null;
  readonly ended_at: Date | null;
  readonly exit_code: number | null;
  readonly usage: UsageSeries | null;
  readonly log_bytes: bigint | null;
  readonly log_end: string | null;
  readonly files: bigint | null;
  readonly artifact_bytes: bigint | null;
}

/** What a job waited, ran, used and left, by attempt; of one that runs, what its provider told up to a minute ago. undefined: no such job. */
export async function metricsView(tx: Tx, tenant: string, jobId: string): Promise<View | undefined> {
  const waits = await waitsOf(tx, tenant, jobId);
  if (waits === undefined) return undefined;
  const rows = await tx.query<MetricsRow>(
    `select a.attempt, a.pool, a.flavour, a.provider, a.outcome, a.started_at as applied_at,
       r.began_at, coalesce(r.ended_at, a.ended_at) as ended_at, r.exit_code, r.usage, l.bytes as log_bytes, l.ended as log_end,
       f.files, f.bytes as artifact_bytes
     from attempts a
     left join attempt_runs r using (booking_id, attempt)
     left join job_logs l using (booking_id, attempt)
     left join lateral (select count(mf.path) as files, coalesce(sum(mf.size), 0)::bigint as bytes
                        from manifests m left join manifest_files mf using (manifest_id)
                        where m.booking_id = a.booking_id and m.attempt = a.attempt group by m.manifest_id) f on true
     where a.tenant = $1 and a.booking_id = $2 order by a.attempt`,
    [tenant, jobId],
  );
  const attempts = rows.map((row) => attemptView(row, waits.get(row.attempt)));
  return {
    id: jobId,
    attempts: rows.length,
    waitedMs: sum([...waits.values()]),
    ranMs: sum(attempts.map(({ ranMs }) => ranMs)),
    cpuMs: sum(attempts.map(({ cpuMs }) => cpuMs)),
    memoryPeakBytes: most(attempts.map(({ memoryPeakBytes }) => memoryPeakBytes)),
    gpuPeakMilli: most(attempts.map(({ gpuPeakMilli }) => gpuPeakMilli)),
    gpuMemoryPeakBytes: most(attempts.map(({ gpuMemoryPeakBytes }) => gpuMemoryPeakBytes)),
    exitCode: attempts.at(-1)?.exitCode ?? null,
    logBytes: sum(attempts.map(({ logBytes }) => logBytes)),
    files: sum(attempts.map(({ files }) => files)),
    artifactBytes: sum(attempts.map(({ artifactBytes }) => artifactBytes)),
    items: attempts as unknown as Json,
  };
}

function attemptView(row: MetricsRow, waitedMs: number | undefined) {
  const total = totalOf(row.usage ?? { everyMs: 0, points: [], readCpuMs: null });
  const began = row.began_at ?? row.applied_at;
  return {
    attempt: row.attempt,
    pool: row.pool,
    flavour: row.flavour,
    provider: row.provider,
    outcome: row.outcome,
    waitedMs: waitedMs ?? null,
    beganAt: began?.toISOString() ?? null,
    endedAt: row.ended_at?.toISOString() ?? null,
    // By two clocks where the provider told only one of the times.
    ranMs: began === null || row.ended_at === null ? null : Math.max(0, row.ended_at.getTime() - began.getTime()),
    exitCode: row.exit_code,
    cpuMs: total.cpuMs,
    memoryPeakBytes: total.memoryBytes,
    gpuPeakMilli: total.gpuMilli,
    gpuMemoryPeakBytes: total.gpuMemoryBytes,
    logBytes: row.log_bytes === null ? null : Number(row.log_bytes),
    logEnd: row.log_end,
    files: row.files === null ? null : Number(row.files),
    artifactBytes: row.artifact_bytes === null ? null : Number(row.artifact_bytes),
    usage: (row.usage?.points ?? []).map(pointView),
  };
}

function pointView({ fromMs, toMs, cpuMs, memoryBytes, gpuMilli, gpuMemoryBytes }: UsagePoint) {
  const tookMs = toMs - fromMs;
  return {
    from: new Date(fromMs).toISOString(),
    to: new Date(toMs).toISOString(),
    /** CPUs that were busy, on average, in thousandths. */
    cpuMilli: cpuMs === null || tookMs === 0 ? null : Math.round((cpuMs * 1000) / tookMs),
    memoryBytes,
    gpuMilli,
    gpuMemoryBytes,
  };
}

/** How long each attempt stood in the queue before it was admitted, out of the audit trail. undefined: no such job. */
async function waitsOf(tx: Tx, tenant: string, jobId: string): Promise<ReadonlyMap<number, number> | undefined> {
  const rows = await tx.query<{ type: string; bytes: Buffer }>(
    `select type, bytes from audit_events where tenant = $1 and subject = $2
       and type in ('booking.created', 'booking.waiting', 'booking.reserved') order by subject_seq`,
    [tenant, `booking/${jobId}`],
  );
  if (rows.length === 0) return undefined;
  const waits = new Map<number, number>();
  let since = Number.NaN;
  for (const { type, bytes } of rows) {
    const { at, data } = JSON.parse(bytes.toString('utf8')) as { at: string; data: { attempt?: number } };
    if (type !== 'booking.reserved') since = Date.parse(at);
    else if (data.attempt !== undefined) waits.set(data.attempt, Math.max(0, Date.parse(at) - since));
  }
  return waits;
}

function sum(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((all, one) => all + one, 0);
}

function most(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : Math.max(...known);
}
