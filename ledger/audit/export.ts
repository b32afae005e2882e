import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '../../platform/postgres.ts';
import { bundleEventLine, bundleHeaderLine, checkpointLine } from './bundle.ts';
import { latestNote } from './sequencer.ts';

/** Events read in one statement. */
export const EXPORT_BATCH = 1_000;

/** An export waits so long for the seal of what was recorded before it; a signer that is away longer does not hold it up. */
export const SEAL_WAIT_MS = 10_000;
const LOOK_MS = 50;

/** Until what was recorded when it was asked is under a signed checkpoint: a state that was exported before is covered. */
export async function awaitRecorded(db: Pick<Database, 'asEngine'>, waitMs = SEAL_WAIT_MS): Promise<boolean> {
  const [row] = await db.asEngine((tx) =>
    tx.query<{ last: bigint | null }>('select max(recorded_no) as last from audit_events'),
  );
  for (const until = performance.now() + waitMs; ; await sleep(LOOK_MS)) {
    const open = await db.asEngine((tx) =>
      tx.query(
        `select 1 from audit_events where seq is null and recorded_no <= $1
         union all
         select 1 from audit_events where seq >= (select coalesce(max(tree_size), 0) from audit_checkpoints) and recorded_no <= $1
         limit 1`,
        [row?.last ?? 0n],
      ),
    );
    if (open.length === 0) return true;
    if (performance.now() > until) return false;
  }
}

/**
 * The lines of an audit bundle up to the newest checkpoint, of all tenants (the log is one); nothing where nothing is
 * sealed yet. Reads in portions: what is written meanwhile is beyond that checkpoint.
 */
export async function* exportBundle(db: Pick<Database, 'asEngine'>): AsyncGenerator<string> {
  const head = await db.asEngine(async (tx) => {
    const last = await latestNote(tx);
    if (last === undefined) return undefined;
    const rows = await tx.query<{ n: bigint }>('select count(*) as n from audit_checkpoints where tree_size <= $1', [
      last.treeSize,
    ]);
    return { last, checkpoints: Number(rows[0]?.n ?? 0n) };
  });
  if (head === undefined) return;
  const { last, checkpoints } = head;
  yield bundleHeaderLine(last.origin, last.treeSize, checkpoints);
  yield checkpointLine(last.note);
  for (let from = 0; from < last.treeSize; from += EXPORT_BATCH) {
    const to = Math.min(from + EXPORT_BATCH, last.treeSize);
    yield* await db.asEngine(async (tx) => {
      const rows = await tx.query<{ seq: bigint; leaf_hash: Buffer; bytes: Buffer }>(
        'select seq, leaf_hash, bytes from audit_events where seq >= $1 and seq < $2 order by seq',
        [from, to],
      );
      const notes = await tx.query<{ tree_size: bigint; note: string }>(
        'select tree_size, note from audit_checkpoints where tree_size > $1 and tree_size <= $2 and tree_size < $3',
        [from, to, last.treeSize],
      );
      const noteAfter = new Map(notes.map((row) => [Number(row.tree_size), row.note]));
      return rows.map((row) => {
        const note = noteAfter.get(Number(row.seq) + 1);
        return (
          bundleEventLine(Number(row.seq), row.leaf_hash, row.bytes) + (note === undefined ? '' : checkpointLine(note))
        );
      });
    });
  }
}
