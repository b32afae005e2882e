import { assert } from '../../core/assert.ts';
import { canonicalText, type Json } from '../../core/canonical.ts';
import { RefusedInput, refuse } from '../../core/refusal.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import type { Database, Tx } from '../../platform/postgres.ts';
import { REPORTS_TOPIC } from '../ingest/report-log.ts';
import { lockSubject } from '../registry/lock-subject.ts';
import type { Requester } from '../registry/suites.ts';
import { endOffsetOf } from './handed-shard.ts';
import { areIn, type HourPiece, hourPieces } from './hour-pieces.ts';
import type { ShardCounts } from './messages.ts';
import { unpackRows } from './pane-deltas.ts';
import type { PaneFile } from './pane-file.ts';
import {
  addKeptPanes,
  type Claim,
  endHours,
  endShard,
  heldShard,
  loadVersion,
  moveShard,
  type Shard,
} from './recomputes.sql.ts';
import { modelsOf, shareProblem } from './share-bounds.ts';

/** Panes of one transaction, or of one hour where it has more; and of one statement: whoever else writes these panes waits for no more. */
const PANES_AT_ONCE = 5_000;
/** From one transaction to the next, where the claim holds no longer anyway. */
const LEASE_MS = 60_000;

/** What one job left. */
export interface ShareOfJob extends PaneFile {
  readonly job: string;
  /** Of the file, as the job's manifest has it. */
  readonly sha256: string;
}

export interface Merged {
  readonly suite: string;
  readonly partition: number;
  readonly panes: number;
  readonly counts: ShardCounts;
}

interface SharesAsked {
  readonly suite: string;
  readonly claim: string;
  readonly partition: number;
  readonly shares: readonly ShareOfJob[];
}

/**
 * Adds what the jobs of one partition counted, some hours of event time a transaction, so that whoever else writes these panes waits for no more, and
 * then ends its shard, once: its row is held by the claim, and stands where they began. What is broken off between two is gone on with by whoever
 * merges again, or by whoever counts the rest, since the row tells which hours are in. Asked again with the same jobs, it tells what was merged.
 * undefined: the claim does not hold it, since it ran out or the rollout ended. Throws RefusedInput.
 */
export async function mergeShares(
  db: Database,
  by: Requester,
  asked: SharesAsked,
  panesAtOnce = PANES_AT_ONCE,
): Promise<Merged | undefined> {
  const standing = await db.asEngine((tx) => standingOf(tx, by, asked));
  if (standing === undefined || 'panes' in standing) return standing;
  // Large shares take seconds, in which no transaction waits: what they are held against is of the rollout, and stays.
  for (const share of asked.shares) {
    const problem = await shareProblem(share, standing);
    if (problem !== undefined) throw untrue(share.job, problem);
  }
  // Where the claim holds it no more, the end tells what became of it.
  for (const share of asked.shares)
    for (const piece of hourPieces(share.panes, standing.mergedHours, panesAtOnce))
      if (!(await db.asEngine((tx) => addPiece(tx, standing, share, piece, panesAtOnce)))) break;
  return db.asEngine(async (tx) => {
    const held = await standingOf(tx, by, asked);
    return held === undefined || 'panes' in held ? held : endMerge(tx, by, held, asked.shares);
  });
}

/** A shard that the claim holds, its row locked, with what its version's shares are held against. */
interface Standing extends Shard {
  readonly completeTickMs: number | null;
}

/** What these shares are merged into, or what was merged of them before. */
async function standingOf(
  tx: Tx,
  by: Requester,
  { suite, claim, partition, shares }: SharesAsked,
): Promise<Standing | Merged | undefined> {
  const first = shares[0];
  if (first === undefined) throw refused('jobs', 'are missing', 'name the job of each share');
  const held: Claim = { rolloutId: first.head.rollout, topic: REPORTS_TOPIC, partition, worker: claim };
  const version = await loadVersion(tx, held.rolloutId);
  if (version === undefined || version.tenant !== by.tenant) return undefined;
  if (version.suite.name !== suite)
    throw refused('claim', `is of suite ${version.suite.name}`, 'name the suite that it was claimed of');
  const shard = await heldShard(tx, held);
  if (shard === undefined) return mergedBefore(tx, by.tenant, held, shares);
  if (shard.changed !== null)
    throw refused('jobs', `are of no use any more: ${shard.changed}`, 'let it become complete by time');
  for (const share of shares) requireOf(share, shard, first.head.share.of);
  requireAll(shares);
  await requireModels(tx, by.tenant, shares);
  return { ...shard, completeTickMs: version.completeTickMs };
}

/** Adds the panes of whole hours. False: the claim does not hold the shard any more. */
async function addPiece(
  tx: Tx,
  claim: Claim,
  { panes }: ShareOfJob,
  { hours, rows }: HourPiece,
  panesAtOnce: number,
): Promise<boolean> {
  const shard = await heldShard(tx, claim);
  const version = await loadVersion(tx, claim.rolloutId);
  if (shard === undefined || version === undefined) return false;
  for (let at = 0; at < rows.length; at += panesAtOnce)
    await addKeptPanes(
      tx,
      shard,
      version.scoredTickMs,
      unpackRows(panes, shard.suite.hash, rows.slice(at, at + panesAtOnce)),
    );
  // Another merge of the same claim may have been faster.
  const added = hours.filter((hour) => !shard.mergedHours.has(hour));
  await endHours(tx, shard, added, LEASE_MS);
  return true;
}

async function endMerge(tx: Tx, by: Requester, shard: Standing, shares: readonly ShareOfJob[]): Promise<Merged> {
  for (const { panes } of shares)
    assert(areIn(panes, shard.mergedHours), 'a shard that is held to its end is merged whole');
  const counts = sumOf(shares.map(({ head }) => head.counts));
  await moveShard(tx, shard, { from: shard.nextOffset, to: endOf(shard), counts }, LEASE_MS);
  await endShard(tx, shard, 'done');
  const panes = shares.reduce((total, share) => total + share.panes.n.length, 0);
  const merged: Merged = { suite: shard.suite.name, partition: shard.partition, panes, counts };
  await tell(tx, by, shard, merged, shares);
  return merged;
}

const MERGED = 'suite.recompute.merged';

/** Not of the suite, whose own events the consumer's decisions wait for. */
function subjectOf({ rolloutId }: Pick<Claim, 'rolloutId'>): string {
  return `recompute/${rolloutId}`;
}

async function tell(tx: Tx, by: Requester, shard: Shard, merged: Merged, shares: readonly ShareOfJob[]): Promise<void> {
  const subject = subjectOf(shard);
  await lockSubject(tx, by.tenant, subject);
  await appendAudit(tx, {
    tenant: by.tenant,
    subject,
    type: MERGED,
    at: formatRfc3339(by.nowMs),
    actor: by.actor,
    trace: by.traceId,
    data: {
      ...merged,
      counts: { ...merged.counts },
      suiteHash: shard.suite.hash,
      rollout: shard.rolloutId,
      jobs: jobsOf(shares),
    },
  });
}

function jobsOf(shares: readonly ShareOfJob[]): { readonly job: string; readonly sha256: string }[] {
  return shares.map(({ job, sha256 }) => ({ job, sha256 })).sort((a, b) => (a.job < b.job ? -1 : 1));
}

/** What the trail says of a merge of these jobs. */
async function mergedBefore(
  tx: Tx,
  tenant: string,
  { rolloutId, partition }: Claim,
  shares: readonly ShareOfJob[],
): Promise<Merged | undefined> {
  const rows = await tx.query<{ data: Merged & { readonly jobs: Json } }>(
    `select convert_from(bytes, 'UTF8')::jsonb -> 'data' as data from audit_events where tenant = $1 and subject = $2 and type = $3`,
    [tenant, subjectOf({ rolloutId }), MERGED],
  );
  const jobs = canonicalText(jobsOf(shares));
  const same = rows.find(({ data }) => data.partition === partition && canonicalText(data.jobs) === jobs);
  if (same === undefined) return undefined;
  const { suite, panes, counts } = same.data;
  return { suite, partition, panes, counts };
}

function endOf({ untilOffset, untilLine }: Shard): bigint {
  return endOffsetOf({ offset: untilOffset, line: untilLine });
}

function requireOf({ job, head, panes }: ShareOfJob, shard: Shard, of: number): void {
  const metrics = new Set(['', ...shard.suite.metrics.map(({ name }) => name)]);
  const is =
    head.claim === shard.worker &&
    head.rollout === shard.rolloutId &&
    head.suiteHash === shard.suite.hash &&
    head.partition === shard.partition &&
    head.from === String(shard.nextOffset) &&
    head.until === String(endOf(shard)) &&
    head.untilLine === shard.untilLine &&
    head.onTimeFromMs === shard.onTimeFromMs &&
    head.share.of === of &&
    panes.series.every((name) => metrics.has(name.slice(name.indexOf(' ') + 1)));
  if (!is)
    throw refused('jobs', `name ${job}, which counted something else`, 'name the jobs of this claim and partition');
}

/** No report of an unknown model is ever accepted. */
async function requireModels(tx: Tx, tenant: string, shares: readonly ShareOfJob[]): Promise<void> {
  for (const share of shares) {
    const [unknown] = await tx.query<{ model: string }>(
      `select model from unnest($2::text[]) as named (model)
       where not exists (select 1 from model_versions v where v.tenant = $1 and v.version = named.model) limit 1`,
      [tenant, modelsOf(share)],
    );
    if (unknown !== undefined) throw untrue(share.job, `has panes of ${unknown.model}, which is not registered`);
  }
}

function untrue(job: string, problem: string): RefusedInput {
  return refused('jobs', `name ${job}, whose file ${problem}`, 'book the jobs again: merit recompute');
}

function requireAll(shares: readonly ShareOfJob[]): void {
  const { of } = shares[0]!.head.share;
  const found = new Set(shares.map(({ head }) => head.share.index));
  if (found.size < shares.length) throw refused('jobs', 'name a share twice', 'name each once');
  if (found.size < of) throw refused('jobs', `are ${found.size} of ${of} shares`, 'name the others too');
}

function sumOf(counts: readonly ShardCounts[]): ShardCounts {
  const sum = (of: keyof ShardCounts) => counts.reduce((total, one) => total + one[of], 0);
  return { counted: sum('counted'), late: sum('late'), refused: sum('refused'), outdated: sum('outdated') };
}

function refused(field: string, problem: string, mend: string): RefusedInput {
  return new RefusedInput([refuse('shares', field, problem, mend)]);
}
