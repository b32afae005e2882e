import type { Tx } from '../../platform/postgres.ts';
import type { ReadOffsets } from '../ingest/positions.sql.ts';
import type { Beginning } from '../ingest/topic-history.sql.ts';
import { compareVectors, isWithin, join, type Vector, vectorKey, vectorOf } from '../ingest/vector.ts';
import type { SignedDecision } from '../promotion/decision-record.ts';

/** A version of a suite that began to hold. */
export interface Turn {
  readonly suite: string;
  readonly suiteHash: string;
  readonly document: unknown;
  readonly rollout: boolean;
}

/** A model that began to stand for a seat, or to sit. */
export interface Opened {
  readonly suite: string;
  readonly model: string;
  readonly role: 'incumbent' | 'candidate';
}

/** What happened to the contest beside the log, where it happened. */
export interface Cut {
  readonly at: Vector;
  readonly turns: readonly Turn[];
  readonly opened: readonly Opened[];
  /** Promotions that were decided here: `suiteHash tick model`. */
  readonly promotions: readonly string[];
  /** Behind it the topic had so many partitions; null: as before. */
  readonly partitions: number | null;
}

/** Where nothing happened. */
export const NOTHING: Omit<Cut, 'at'> = { turns: [], opened: [], promotions: [], partitions: null };

export function promotionKey(suiteHash: string, tick: string, model: string): string {
  return `${suiteHash} ${tick} ${model}`;
}

interface TurnRow {
  readonly suite: string;
  readonly suite_hash: string;
  readonly document: unknown;
  readonly rollout: boolean;
  readonly read_at: ReadOffsets;
}

interface WatchRow {
  readonly suite: string;
  readonly model: string;
  readonly role: 'incumbent' | 'candidate';
  readonly opened_at: Partial<ReadOffsets>;
}

/**
 * All that was taken up beside the log up to `until`, in an order in which it can have happened: versions of suites, challenges, seats given
 * by hand, and where each promotion was decided. Of a contest under a version that is not live any more too. Of a topic that was made anew the
 * versions only, those of an earlier life from its beginning on.
 */
export async function loadTimeline(
  tx: Tx,
  tenant: string,
  until: Vector,
  begins: Beginning | null,
): Promise<readonly Cut[]> {
  const anewMs = begins?.anew === true ? begins.atMs : null;
  const turns = await tx.query<TurnRow>(
    `select t.suite, t.suite_hash, s.document, t.rollout,
       case when t.turned_at < to_timestamp($2::float8 / 1000) then '{"offsets": {}, "lines": {}}' else t.read_at end as read_at
     from public.suite_turns t join public.suites s using (tenant, suite, suite_hash) where t.tenant = $1 order by t.turn_no`,
    [tenant, anewMs],
  );
  const watches = await tx.query<WatchRow>(
    `select suite, model, role, opened_at from public.watches where tenant = $1 order by watch_id`,
    [tenant],
  );
  const decisions = await tx.query<{ bytes: Buffer }>(
    `select bytes from public.decisions where tenant = $1 and action = 'promote' order by decided_at, tick_ms`,
    [tenant],
  );
  const cuts = new Map<
    string,
    { at: Vector; turns: Turn[]; opened: Opened[]; promotions: string[]; partitions: null }
  >();
  const cutAt = (read: Partial<ReadOffsets>) => {
    const at = vectorOf({ offsets: read.offsets ?? {}, lines: read.lines ?? {} });
    const key = vectorKey(at);
    const cut = cuts.get(key) ?? { at, turns: [], opened: [], promotions: [], partitions: null };
    cuts.set(key, cut);
    return cut;
  };
  for (const { read_at: read, suite, suite_hash: suiteHash, document, rollout } of turns)
    cutAt(read).turns.push({ suite, suiteHash, document, rollout });
  // Where a contest was in an earlier life is no place in this one.
  if (anewMs !== null) return inOrder([...cuts.values()].filter(({ at }) => isWithin(at, until)));
  for (const { opened_at: read, suite, model, role } of watches) cutAt(read).opened.push({ suite, model, role });
  for (const { bytes } of decisions) {
    const { record } = JSON.parse(bytes.toString('utf8')) as SignedDecision;
    cutAt(record).promotions.push(promotionKey(record.suiteHash, record.tick, record.model));
  }
  return inOrder([...cuts.values()].filter(({ at }) => isWithin(at, until)));
}

/** Each behind the one before in every partition: transactions beside each other may have seen one another's places half. */
export function inOrder(cuts: readonly Cut[]): readonly Cut[] {
  let reached: Vector = new Map();
  return [...cuts]
    .sort((a, b) => compareVectors(a.at, b.at))
    .map((cut) => {
      reached = join(reached, cut.at);
      return { ...cut, at: reached };
    });
}
