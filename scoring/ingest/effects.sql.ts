import type { Tx } from '../../platform/postgres.ts';
import type { EdgeEntry } from '../rules/edge.ts';
import type { EvidenceRow } from '../rules/evidence.ts';
import { type Pane, RESOLUTION_MS } from '../rules/pane.ts';
import { compareText } from '../rules/pane-table.ts';
import type { PartitionMark } from '../rules/watermark.ts';
import { addPaneDeltas } from './add-panes.sql.ts';
import type { Counters } from './batch.ts';
import { DEDUP_HORIZON_MS, type DedupBlock } from './dedup-index.ts';
import { deltasOfPanes } from './pane-deltas.ts';
import { byteaArray } from './pg-binary.ts';
import type { SetAside } from './set-aside.ts';
import type { TickReports } from './suite-batch.ts';

/** The rows a flush writes; each function is one or two statements whatever the number of rows, sorted by key. */

const MINUTE_MS = 60_000;

/** Minutes, as `panes.resolution` has them. */
export function resolutionMinutes(resolution: Pane['resolution']): number {
  return RESOLUTION_MS[resolution] / MINUTE_MS;
}

/** Adds pane deltas of one suite to what is stored. */
export async function addPanes(tx: Tx, tenant: string, suite: string, panes: readonly Pane[]): Promise<void> {
  const deltas = deltasOfPanes(panes);
  if (deltas !== undefined) await addPaneDeltas(tx, tenant, suite, deltas);
}

/** Adds evidence deltas of any watches. */
export async function addEvidenceRows(tx: Tx, tenant: string, rows: readonly EvidenceRow[]): Promise<void> {
  if (rows.length === 0) return;
  await tx.execute(
    `insert into evidence_sums (watch_id, tenant, model, metric, tick_ms, n, weight, sum_ws, sum_ws2, beyond)
     select a.watch_id, $1, a.model, a.metric, a.tick_ms, a.n, a.weight, a.sum_ws, a.sum_ws2, a.beyond
     from unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::numeric[], $8::numeric[], $9::numeric[], $10::bigint[])
       as a (watch_id, model, metric, tick_ms, n, weight, sum_ws, sum_ws2, beyond)
     order by a.watch_id, a.model, a.metric, a.tick_ms
     on conflict (watch_id, model, metric, tick_ms) do update set n = evidence_sums.n + excluded.n,
       weight = evidence_sums.weight + excluded.weight, sum_ws = evidence_sums.sum_ws + excluded.sum_ws,
       sum_ws2 = evidence_sums.sum_ws2 + excluded.sum_ws2, beyond = evidence_sums.beyond + excluded.beyond`,
    [
      tenant,
      rows.map((row) => row.watchId),
      rows.map((row) => row.model),
      rows.map((row) => row.metric),
      rows.map((row) => row.tickMs),
      rows.map((row) => row.sums.n),
      rows.map((row) => row.sums.weight.toString()),
      rows.map((row) => row.sums.sumWs.toString()),
      rows.map((row) => row.sums.sumWs2.toString()),
      rows.map((row) => row.sums.beyond),
    ],
  );
}

/**
 * Adds to the edge, and removes what the watermark has passed. With one partition it is a millisecond of reports; where a partition of several
 * lags it is all that the others have read since, so that a flush touches its own part of it only.
 */
export async function addEdge(
  tx: Tx,
  tenant: string,
  suite: string,
  suiteHash: string,
  watermarkMs: number | null,
  entries: readonly EdgeEntry[],
): Promise<void> {
  await tx.execute(
    'delete from evidence_edge where tenant = $1 and suite = $2 and suite_hash = $3 and observed_ms < $4',
    [tenant, suite, suiteHash, watermarkMs],
  );
  if (entries.length === 0) return;
  await tx.execute(
    `insert into evidence_edge (tenant, suite, suite_hash, model, metric, observed_ms, n, weight, sum_ws, sum_ws2, beyond)
     select $1, $2, $3, a.* from unnest($4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::numeric[], $9::numeric[], $10::numeric[], $11::bigint[])
       as a (model, metric, observed_ms, n, weight, sum_ws, sum_ws2, beyond)
     on conflict (tenant, suite, suite_hash, model, metric, observed_ms) do update set n = evidence_edge.n + excluded.n,
       weight = evidence_edge.weight + excluded.weight, sum_ws = evidence_edge.sum_ws + excluded.sum_ws,
       sum_ws2 = evidence_edge.sum_ws2 + excluded.sum_ws2, beyond = evidence_edge.beyond + excluded.beyond`,
    [
      tenant,
      suite,
      suiteHash,
      entries.map((entry) => entry.model),
      entries.map((entry) => entry.metric),
      entries.map((entry) => entry.observedAtMs),
      entries.map((entry) => entry.sums.n),
      entries.map((entry) => entry.sums.weight.toString()),
      entries.map((entry) => entry.sums.sumWs.toString()),
      entries.map((entry) => entry.sums.sumWs2.toString()),
      entries.map((entry) => entry.sums.beyond),
    ],
  );
}

export async function loadEdge(
  tx: Tx,
  tenant: string,
  suite: string,
  suiteHash: string,
): Promise<readonly EdgeEntry[]> {
  const rows = await tx.query<{ model: string; metric: string; observed_ms: bigint } & EvidenceColumns>(
    `select model, metric, observed_ms, n, weight::text, sum_ws::text, sum_ws2::text, beyond from evidence_edge
     where tenant = $1 and suite = $2 and suite_hash = $3`,
    [tenant, suite, suiteHash],
  );
  return rows.map((row) => ({
    model: row.model,
    metric: row.metric,
    observedAtMs: Number(row.observed_ms),
    sums: evidenceSums(row),
  }));
}

export interface EvidenceColumns {
  readonly n: bigint;
  readonly weight: string;
  readonly sum_ws: string;
  readonly sum_ws2: string;
  readonly beyond: bigint;
}

export function evidenceSums(row: EvidenceColumns): EvidenceRow['sums'] {
  return {
    n: Number(row.n),
    weight: BigInt(row.weight),
    sumWs: BigInt(row.sum_ws),
    sumWs2: BigInt(row.sum_ws2),
    beyond: Number(row.beyond),
  };
}

export async function addTickReports(
  tx: Tx,
  tenant: string,
  suite: string,
  suiteHash: string,
  list: readonly TickReports[],
): Promise<void> {
  if (list.length === 0) return;
  await tx.execute(
    `insert into tick_reports (tenant, suite, suite_hash, model, tick_ms, n)
     select $1, $2, $6, a.* from unnest($3::text[], $4::bigint[], $5::bigint[]) as a (model, tick_ms, n) order by model, tick_ms
     on conflict (tenant, suite, suite_hash, model, tick_ms) do update set n = tick_reports.n + excluded.n`,
    [tenant, suite, list.map((row) => row.model), list.map((row) => row.tickMs), list.map((row) => row.n), suiteHash],
  );
}

export async function saveMark(
  tx: Tx,
  tenant: string,
  suite: string,
  topic: string,
  mark: PartitionMark,
): Promise<void> {
  await tx.execute(
    `insert into watermarks (tenant, suite, topic, partition, watermark_ms) values ($1, $2, $3, $4, $5)
     on conflict (tenant, suite, topic, partition) do update set watermark_ms = greatest(watermarks.watermark_ms, excluded.watermark_ms)`,
    [tenant, suite, topic, mark.partition, mark.watermarkMs],
  );
}

/** In key order: a tenant's row of no suite is every reader's. */
export async function addCounters(
  tx: Tx,
  rows: readonly { readonly tenant: string; readonly suite: string; readonly counts: Counters }[],
): Promise<void> {
  const sorted = [...rows].sort((a, b) => compareText(a.tenant, b.tenant) || compareText(a.suite, b.suite));
  for (const { tenant, suite, counts } of sorted) {
    await tx.execute(
      `insert into input_counters (tenant, suite, accepted, quarantined, duplicates, conflicts, late_archived) values ($1, $2, $3, $4, $5, $6, $7)
       on conflict (tenant, suite) do update set accepted = input_counters.accepted + excluded.accepted,
         quarantined = input_counters.quarantined + excluded.quarantined, duplicates = input_counters.duplicates + excluded.duplicates,
         conflicts = input_counters.conflicts + excluded.conflicts, late_archived = input_counters.late_archived + excluded.late_archived`,
      [tenant, suite, counts.accepted, counts.quarantined, counts.duplicates, counts.conflicts, counts.lateArchived],
    );
  }
}

/** Once per place in the log; of a line past the limit only hash, size and first KiB. */
export async function addQuarantine(tx: Tx, rows: readonly SetAside[]): Promise<void> {
  if (rows.length === 0) return;
  await tx.execute(
    `insert into quarantine (tenant, topic, partition, log_offset, line, reason, field, position, problem, producer, raw, raw_size, raw_sha256, trace_id, awaits,
       suite, sender, redrive_of)
     select * from unnest($1::text[], $2::text[], $3::integer[], $4::bigint[], $5::integer[], $6::text[], $7::text[], $8::integer[], $9::text[],
       $10::text[], $11::bytea[], $12::bigint[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[])
     on conflict (topic, partition, log_offset, line) do nothing`,
    [
      rows.map((row) => row.tenant),
      rows.map((row) => row.topic),
      rows.map((row) => row.partition),
      rows.map((row) => row.offset),
      rows.map((row) => row.line),
      rows.map((row) => row.aside.code),
      rows.map((row) => row.aside.field),
      rows.map((row) => row.aside.position),
      rows.map((row) => row.aside.problem),
      rows.map((row) => row.producer),
      rows.map((row) => Buffer.from(row.raw)),
      rows.map((row) => row.rawSize),
      rows.map((row) => row.rawSha256),
      rows.map((row) => row.traceId),
      rows.map((row) => row.awaits),
      rows.map((row) => row.suite),
      rows.map((row) => row.sender),
      rows.map((row) => row.redriveOf),
    ],
  );
}

export async function addDedupBlocks(
  tx: Tx,
  topic: string,
  partition: number,
  blocks: readonly DedupBlock[],
): Promise<void> {
  if (blocks.length === 0) return;
  await tx.execute(
    `insert into dedup_blocks (topic, partition, shard, tenant, suite, newest_observed_ms, entries, block)
     select $1, $2, a.* from unnest($3::smallint[], $4::text[], $5::text[], $6::bigint[], $7::integer[], $8::bytea[])
       as a (shard, tenant, suite, newest_observed_ms, entries, block)`,
    [
      topic,
      partition,
      blocks.map((block) => block.shard),
      blocks.map((block) => block.tenant),
      blocks.map((block) => block.suite),
      blocks.map((block) => block.newestObservedMs),
      blocks.map((block) => block.entries),
      byteaArray(blocks.map(({ block }) => block)),
    ],
  );
}

/** Forgets blocks whose newest report is past the horizon; how many reports went. */
export async function pruneDedup(tx: Tx, tenant: string, suite: string, watermarkMs: number): Promise<number> {
  const rows = await tx.query<{ entries: bigint }>(
    `with gone as (delete from dedup_blocks where tenant = $1 and suite = $2 and newest_observed_ms < $3 returning entries)
     select coalesce(sum(entries), 0)::bigint as entries from gone`,
    [tenant, suite, watermarkMs - DEDUP_HORIZON_MS],
  );
  return Number(rows[0]?.entries ?? 0n);
}
