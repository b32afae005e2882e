import { OperatingError } from '../../core/operating-error.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Database } from '../../platform/postgres.ts';
import type { WitnessStore } from '../../platform/witness-store.ts';
import { appendAudit } from './append.ts';
import {
  checkTrail,
  entryOf,
  lateIn,
  MAX_SILENT,
  newestOfEach,
  restartOf,
  restartsOf,
  sizeIn,
  toldRestarts,
} from './witness.ts';
import { LAST_GENERATION, RESTARTED } from './witness-record.ts';

const WITNESS_SUBJECT = 'installation/witness';

export interface RestartedBy {
  readonly tenant: string;
  readonly actor: string;
  readonly traceId: string;
  readonly nowMs: number;
  readonly reason: string;
}

/**
 * Begins a new generation where the trail is not what the witness has seen: after a database was put back to an earlier time. The event comes first, so that
 * no witness knows of a restart which the trail does not tell. False where the trail holds, and all that was lost is told: there is nothing to restart.
 *
 * A generation that began without a record gets one first, which names what the one before it had seen: what was lost by then is told as of any restart, and the name is
 * taken. What stands in it is believed by nobody: the new generation leaves it behind. Throws OperatingError `witness` where too many were made up for that.
 */
export async function restartWitness(
  db: Pick<Database, 'asEngine'>,
  store: WitnessStore,
  { tenant, actor, traceId, nowMs, reason }: RestartedBy,
): Promise<boolean> {
  const check = await checkTrail(db, store);
  // A trail that holds can stand beside a restart that says less than was lost, since a checkpoint came late: that is said once more.
  const late = check.kind === 'holds' ? await lateIn(store) : [];
  if (check.kind === 'holds' && late.length === 0) return false;
  const silent = check.kind === 'holds' ? [] : (check.silent ?? []);
  if (silent.length > MAX_SILENT || check.generation >= LAST_GENERATION) throw madeUp(store, check.generation);
  const at = formatRfc3339(nowMs);
  const { restarts } = await restartsOf(store, check.generation);
  const told = await db.asEngine((tx) => toldRestarts(tx, restarts));
  const lost = restarts.map((one) => one.generation).filter((one) => !told.has(one));
  const begun = [...silent, check.generation + 1];
  const newest = await newestOfEach(store, begun[0]! - 1);
  for (const generation of begun) {
    const before = newest.get(generation - 1);
    const abandoned = { generation: generation - 1, treeSize: before === undefined ? 0 : sizeIn(before) };
    const untold = lost.filter((one) => one < generation);
    const found = check.kind !== 'holds' && silent.includes(generation) ? { found: check.problem } : {};
    const more = late.length === 0 ? {} : { late: late.map((one) => ({ ...one })) };
    const { id: eventId } = await db.asEngine((tx) =>
      appendAudit(tx, {
        tenant,
        subject: WITNESS_SUBJECT,
        type: RESTARTED,
        at,
        actor,
        trace: traceId,
        data: {
          generation,
          abandoned,
          treeSize: check.size,
          reason,
          ...(untold.length === 0 ? {} : { untold }),
          ...found,
          ...more,
        },
      }),
    );
    const restart = { abandoned, treeSize: check.size, actor, at, reason, eventId, untold, ...more };
    await store.put(...entryOf({ kind: 'restart', generation, restart }));
    // A name keeps its first content: what somebody put there stands in the way for good.
    if ((await restartOf(store, generation)) === undefined) throw madeUp(store, generation);
  }
  return true;
}

function madeUp({ place }: WitnessStore, generation: number): OperatingError {
  return new OperatingError('witness', 'never', `restarting the witness ${place}`, {
    cause: `it has records up to generation ${generation} without those by which one begins: they were made up`,
    mend: 'keep what is there, and name another place in `witness`, where only Merit writes (docs/audit.md)',
  });
}
