import type { Tx } from '../../platform/postgres.ts';

/** How far the history of a rollout's new version is filled in from the report log (scoring/batch). */
export interface RecomputeProgress {
  /** failed: it becomes complete by time alone. stopped: the version is kept no more. */
  readonly state: 'waiting' | 'running' | 'done' | 'failed' | 'stopped';
  /** Of the log, of all partitions: read, and to be read. */
  readonly messages: number;
  readonly ofMessages: number;
  /** Reports that the active version had accepted, by what they are to the new one: in its windows' sums; too late for any score when they were
   * read; refused; older than all that is kept. */
  readonly counted: number;
  readonly late: number;
  readonly refused: number;
  readonly outdated: number;
  /** Why it failed, or why the last try did. */
  readonly failure: string | null;
}

interface ProgressRow {
  readonly failed: boolean;
  readonly stopped: boolean;
  readonly running: boolean;
  readonly done: boolean | null;
  readonly messages: string;
  readonly of_messages: string;
  readonly counted: string;
  readonly late: string;
  readonly refused: string;
  readonly outdated: string;
  readonly failure: string | null;
}

/** null: no history is to be filled in, or nobody has looked yet. */
export async function loadRecompute(tx: Tx, rolloutId: string): Promise<RecomputeProgress | null> {
  const rows = await tx.query<ProgressRow>(
    `select bool_or(state = 'failed') as failed, bool_or(state = 'stopped') as stopped, bool_or(state = 'running') as running,
            bool_and(state = 'done' and finished_at is not null) as done,
            sum(least(next_offset, until_offset))::text as messages, sum(until_offset)::text as of_messages,
            sum(counted)::text as counted, sum(late)::text as late, sum(refused)::text as refused, sum(outdated)::text as outdated,
            (array_agg(failure order by state = 'failed' desc, partition) filter (where failure is not null))[1] as failure
     from recomputes where rollout_id = $1`,
    [rolloutId],
  );
  const row = rows[0];
  if (row === undefined || row.done === null) return null;
  return {
    state: stateOf(row),
    messages: Number(row.messages),
    ofMessages: Number(row.of_messages),
    counted: Number(row.counted),
    late: Number(row.late),
    refused: Number(row.refused),
    outdated: Number(row.outdated),
    failure: row.failure,
  };
}

function stateOf({ failed, stopped, running, done }: ProgressRow): RecomputeProgress['state'] {
  if (failed) return 'failed';
  if (stopped) return 'stopped';
  if (done === true) return 'done';
  return running ? 'running' : 'waiting';
}
