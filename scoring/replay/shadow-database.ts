import { type Database, StaleLeader, type Tx } from '../../platform/postgres.ts';

/** The claim was taken over, or the replay is to end: nothing was changed. */
export class StaleReplay extends StaleLeader {
  override name = 'StaleReplay';
}

export interface Claim {
  readonly replayId: string;
  /** Of this claim alone. */
  readonly worker: string;
}

export function shadowSchema(replayId: string): string {
  return `replay_${replayId.toLowerCase()}`;
}

/**
 * The database as the scoring code sees it in a replay: every table that it writes is one of the replay's own, since the replay's schema is
 * looked into first and has a twin of each (open_shadow). What leads there is the claim, not an epoch.
 */
export function shadowDatabase(db: Database, claim: Claim): Database {
  const schema = shadowSchema(claim.replayId);
  const enter = async (tx: Tx) => {
    await tx.query(`set local search_path to "${schema}", public`);
  };
  return {
    asTenant: async () => {
      throw new Error('nothing in a replay is asked by a tenant');
    },
    asEngine: (work) =>
      db.asEngine(async (tx) => {
        await enter(tx);
        return work(tx);
      }),
    asLeader: (_epoch, work) =>
      db.asEngine(async (tx) => {
        await enter(tx);
        await requireClaim(tx, claim);
        return work(tx);
      }),
    asFenced: (fence, work) =>
      db.asEngine(async (tx) => {
        await enter(tx);
        await requireClaim(tx, claim);
        await fence(tx);
        return work(tx);
      }),
    close: async () => {},
  };
}

/** Holds the claim's row until the transaction ends. */
export async function requireClaim(tx: Tx, { replayId, worker }: Claim): Promise<void> {
  const rows = await tx.query(
    `select 1 from public.replays where replay_id = $1 and worker = $2 and state = 'running' and not cancel_wanted for share`,
    [replayId, worker],
  );
  if (rows.length === 0) throw new StaleReplay(`the replay ${replayId} is not ours any more`);
}
