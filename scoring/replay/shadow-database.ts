import { OperatingError } from '../../core/operating-error.ts';
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

/** As open_shadow has it. */
const WITHOUT_TWIN = ['tenants', 'leader_epochs', 'replays', 'pgmigrations'];

/**
 * Tables are copied as they are when a replay begins; of a server that was upgraded since they are others, and one that is new would be written live.
 * Throws OperatingError.
 */
export async function requireSameTables(db: Database, { replayId }: Claim): Promise<void> {
  const columnsOf = (schema: string) =>
    `select c.relname::text as name, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull from pg_class c
       join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     where c.relnamespace = (select oid from pg_namespace where nspname = ${schema}) and c.relkind in ('r', 'v')`;
  const changed = await db.asEngine((tx) =>
    tx.query<{ name: string }>(
      `with live as (${columnsOf("'public'")} and c.relname <> all($2::text[])),
         twin as (${columnsOf('$1')} and c.relname not in ('live_scores', 'live_decisions'))
       select distinct name from ((table live except table twin) union all (table twin except table live)) d order by 1`,
      [shadowSchema(replayId), WITHOUT_TWIN],
    ),
  );
  const [first] = changed;
  if (first === undefined) return;
  throw new OperatingError('not-found', 'never', 'replaying the report log', {
    cause: `the server was upgraded since the replay began, and its tables are others now (${first.name})`,
    mend: 'end it with "merit replay cancel", then start another',
  });
}
