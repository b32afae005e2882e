import { RefusedInput, refuse } from '../../core/refusal.ts';
import type { Tx } from '../../platform/postgres.ts';
import { loadAsides } from '../ingest/asides.sql.ts';
import { REPORTS_TOPIC } from '../ingest/report-log.ts';
import { CLOCKS_APART_MS, type Era } from '../ingest/topic-history.sql.ts';
import { MAX_SKEW_MS } from '../rules/watermark.ts';
import type { HandedLeg, HandedShard } from './handed-shard.ts';
import { claimRollout, makeShards, type Shard } from './recomputes.sql.ts';
import { countedFromMs } from './shard-effects.ts';
import { legsOf } from './shard-legs.ts';

/** How a rollout's history is handed to jobs, and given back. The claims are those of workers, by another name. */

/** Lines in the quarantine that one hand-over tells of: some MiB of text. */
const MAX_ASIDES = 100_000;

/** Hands all that is left of the running rollout's history to whoever asks. undefined: no rollout of the suite runs. Throws RefusedInput. */
export async function handOver(
  tx: Tx,
  asked: {
    readonly tenant: string;
    readonly suite: string;
    readonly claim: string;
    readonly holdMs: number;
    /** Life of the topic, as the archive names it. */
    readonly generation: string;
  },
): Promise<readonly HandedShard[] | undefined> {
  const { tenant, suite, claim, holdMs, generation } = asked;
  const rows = await tx.query<{ rollout_id: string; kept: boolean }>(
    `select w.rollout_id, o.rollout_id is not null as kept from suite_rollouts w left join rollout_states o on o.rollout_id = w.rollout_id and not o.ended
     where w.tenant = $1 and w.suite = $2 and w.state = 'running'`,
    [tenant, suite],
  );
  const rollout = rows[0];
  if (rollout === undefined) return undefined;
  if (!rollout.kept)
    throw refused(
      'not_started',
      'is not taken up by the consumer yet',
      'send a report of the suite, or try again in a moment',
    );
  await makeShards(tx, REPORTS_TOPIC);
  const shards = await claimRollout(tx, rollout.rollout_id, claim, holdMs);
  if (shards.length === 0)
    throw refused('nothing_left', 'has no history that is not filled in', 'see "merit suites rollout"');
  const handed: HandedShard[] = [];
  let asides = 0;
  for (const shard of shards) {
    if (shard.changed !== null)
      throw refused('changed', `cannot be filled in: ${shard.changed}`, 'let it become complete by time');
    if (countedEras(shard).length > 1)
      throw refused(
        'raised',
        'has a history that was read while the log had other numbers of partitions',
        'let the recompute workers do it',
      );
    const one = await handedOf(tx, shard, generation);
    asides += one.legs.reduce((total, leg) => total + leg.asides.length, 0);
    if (asides > MAX_ASIDES)
      throw refused(
        'too_large',
        `has more than ${MAX_ASIDES} lines in the quarantine`,
        'let the recompute workers do it',
      );
    handed.push(one);
  }
  return handed;
}

async function handedOf(tx: Tx, shard: Shard, generation: string): Promise<HandedShard> {
  const { topic, tenant, partition, keptFrom, onTimeFromMs, untilLine } = shard;
  const legs: HandedLeg[] = [];
  const [era] = countedEras(shard) as [Era];
  for (const leg of legsOf(shard)) {
    // What was read under another number of partitions does not count.
    if (leg.partitions !== era.partitions) continue;
    const at = { topic, tenant, partition: leg.partition };
    const asides = await loadAsides(tx, at, leg.from.offset, leg.to.offset);
    legs.push({
      ...leg,
      from: { ...leg.from, offset: String(leg.from.offset) },
      to: { ...leg.to, offset: String(leg.to.offset) },
      asides: asides.map(({ offset, line, size }) => [String(offset), line, size]),
    });
  }
  return {
    claim: shard.worker,
    rollout: shard.rolloutId,
    tenant,
    suite: shard.suite.document as HandedShard['suite'],
    suiteHash: shard.suite.hash,
    topic,
    generation,
    partition,
    keptFrom,
    onTimeFromMs,
    fromOffset: String(shard.nextOffset),
    untilOffset: String(shard.untilOffset),
    untilLine,
    legs,
  };
}

/** In which something that counts can have been read: no report is observed later than it was appended, but for clocks. */
function countedEras(shard: Shard): readonly Era[] {
  const fromMs = countedFromMs(shard) - MAX_SKEW_MS - CLOCKS_APART_MS;
  return shard.eras.filter(({ endedAtMs }) => endedAtMs === null || endedAtMs >= fromMs);
}

function refused(code: string, problem: string, mend: string): RefusedInput {
  return new RefusedInput([refuse(code, 'rollout', problem, mend)]);
}

/** Gives back what the claim still holds of the suite: workers, or other jobs, go on with it. Returns how many partitions. */
export async function giveBackRollout(tx: Tx, tenant: string, suite: string, claim: string): Promise<number> {
  return tx.execute(
    `update recomputes set state = 'waiting', worker = null, lease_until = null, changed_at = clock_timestamp()
     where tenant = $1 and worker = $2 and state = 'running'
       and exists (select 1 from suite_rollouts w where w.rollout_id = recomputes.rollout_id and w.suite = $3)`,
    [tenant, claim, suite],
  );
}
