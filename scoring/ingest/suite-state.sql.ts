import { parseSuite, type Suite } from '../../core/suite.ts';
import type { Tx } from '../../platform/postgres.ts';
import {
  type LoadedRollout,
  loadedRollout,
  numberOrNull,
  ROLLOUT_COLUMNS,
  ROLLOUT_JOINS,
  type RolloutColumns,
} from '../rollout/rollout-state.sql.ts';

/** Where the consumer stands with one suite of one tenant, as of the transaction that loaded it. */
export interface SuiteState {
  readonly tenant: string;
  readonly suite: Suite;
  /** null: no report of it was ever accepted. */
  readonly watermarkMs: number | null;
  readonly maxObservedMs: number | null;
  /** Final ticks up to it are published. */
  readonly scoredTickMs: number | null;
  /** Ticks up to it are judged for promotion, of every version that is kept; never past what is published of them. */
  readonly decidedTickMs: number | null;
  /** Of the message that completed the last tick. */
  readonly traceId: string | null;
}

export interface SuiteRef {
  readonly tenant: string;
  readonly name: string;
}

export function suiteKey(tenant: string, name: string): string {
  return `${tenant}/${name}`;
}

/** Parsed suites by hash: parsing is pure, a hash never means another document. */
const MAX_CACHED_SUITES = 1000;
const parsed = new Map<string, Suite>();

export function suiteOf(hash: string, document: unknown): Suite {
  let suite = parsed.get(hash);
  if (suite === undefined) {
    suite = parseSuite(document);
    if (parsed.size >= MAX_CACHED_SUITES) parsed.clear();
    parsed.set(hash, suite);
  }
  return suite;
}

interface StateRow extends RolloutColumns {
  readonly tenant: string;
  readonly suite: string;
  readonly active_hash: string;
  readonly document: unknown;
  readonly state_hash: string | null;
  readonly watermark_ms: bigint | null;
  readonly max_observed_ms: bigint | null;
  readonly scored_tick_ms: bigint | null;
  readonly decided_tick_ms: bigint | null;
  readonly trace_id: string | null;
}

/** A suite as one statement sees it: the active version, the one the consumer last worked with, and the rollout. */
export interface LoadedSuite {
  readonly state: SuiteState;
  readonly isNew: boolean;
  readonly hashChanged: boolean;
  /** The version last worked with; the active one where it is new. */
  readonly storedHash: string;
  readonly rollout: LoadedRollout;
}

/** Another reader signs a decision of the suite: nothing was changed, and it is over within a moment. */
export class SuiteHeld extends Error {
  override name = 'SuiteHeld';
}

/**
 * Keeps the active suites among `refs` to this transaction: what follows is drawn from them as they are now. In key order, whoever asks, so that
 * two readers of one suite never wait for each other. Returns the keys of those that no reader had met.
 */
export async function lockSuites(tx: Tx, refs: readonly SuiteRef[], member: string): Promise<ReadonlySet<string>> {
  if (refs.length === 0) return new Set();
  const values = [refs.map((ref) => ref.tenant), refs.map((ref) => ref.name)];
  const fresh = await tx.query<{ tenant: string; suite: string }>(
    `insert into suite_states (tenant, suite, suite_hash)
     select tenant, suite, suite_hash from suites
     where active and (tenant, suite) in (select * from unnest($1::text[], $2::text[])) order by tenant, suite
     on conflict (tenant, suite) do nothing returning tenant, suite`,
    values,
  );
  const rows = await tx.query<{ suite: string; held: boolean | null }>(
    `select suite, held_by <> $3 and held_until > clock_timestamp() as held from suite_states
     where (tenant, suite) in (select * from unnest($1::text[], $2::text[])) order by tenant, suite for update`,
    [...values, member],
  );
  const held = rows.find((row) => row.held === true);
  if (held !== undefined) throw new SuiteHeld(`a decision of suite ${held.suite} is being signed`);
  return new Set(fresh.map((row) => suiteKey(row.tenant, row.suite)));
}

/** Of a row t: another one with each change, and for ever another. */
export const STATE_VERSION = `concat(t.xmin, ' ', t.ctid)`;

/** Of the suite's state as this transaction has it; nobody sees it who does not see all that this transaction did before. */
export async function stateVersion(tx: Tx, { tenant, name }: SuiteRef): Promise<string> {
  const rows = await tx.query<{ version: string }>(
    `select ${STATE_VERSION} as version from suite_states t where tenant = $1 and suite = $2`,
    [tenant, name],
  );
  return rows[0]!.version;
}

/** No other reader takes in reports of the suite for so long; false where one holds it. */
export async function holdSuite(tx: Tx, ref: SuiteRef, member: string, holdMs: number): Promise<boolean> {
  const held = await tx.execute(
    `update suite_states set held_by = $3, held_until = clock_timestamp() + $4 * interval '1 ms'
     where tenant = $1 and suite = $2 and (held_by is null or held_by = $3 or held_until <= clock_timestamp())`,
    [ref.tenant, ref.name, member, holdMs],
  );
  return held === 1;
}

export async function releaseSuite(tx: Tx, ref: SuiteRef, member: string): Promise<void> {
  await tx.execute(
    'update suite_states set held_by = null, held_until = null where tenant = $1 and suite = $2 and held_by = $3',
    [ref.tenant, ref.name, member],
  );
}

/** Throws SuiteHeld where the hold ran out: others may have gone on since. */
export async function requireHold(tx: Tx, ref: SuiteRef, member: string): Promise<void> {
  const rows = await tx.query(
    `select 1 from suite_states where tenant = $1 and suite = $2 and held_by = $3 and held_until > clock_timestamp() for update`,
    [ref.tenant, ref.name, member],
  );
  if (rows.length === 0) throw new SuiteHeld(`suite ${ref.name} is held no more`);
}

const NONE_FRESH: ReadonlySet<string> = new Set();

/** The active suites among `refs` (all of them where it is undefined), in key order. `fresh`: as lockSuites told. */
export async function loadSuites(
  tx: Tx,
  refs: readonly SuiteRef[] | undefined,
  fresh = NONE_FRESH,
): Promise<readonly LoadedSuite[]> {
  const rows = await tx.query<StateRow>(
    `select s.tenant, s.suite, s.suite_hash as active_hash, s.document, t.suite_hash as state_hash,
            t.watermark_ms, t.max_observed_ms, t.scored_tick_ms, t.decided_tick_ms, t.trace_id, ${ROLLOUT_COLUMNS}
     from suites s left join suite_states t using (tenant, suite) ${ROLLOUT_JOINS}
     where s.active and ($1::text[] is null or (s.tenant, s.suite) in (select * from unnest($1::text[], $2::text[])))
     order by s.tenant, s.suite`,
    [refs?.map((ref) => ref.tenant) ?? null, refs?.map((ref) => ref.name) ?? null],
    // Asked in each flush: planned once a connection, since planning it over seven tables costs more than doing it.
    'load-suites',
  );
  return rows.map((row) => ({
    isNew: row.state_hash === null || fresh.has(suiteKey(row.tenant, row.suite)),
    hashChanged: row.state_hash !== null && row.state_hash !== row.active_hash,
    storedHash: row.state_hash ?? row.active_hash,
    rollout: loadedRollout(row, suiteOf),
    state: {
      tenant: row.tenant,
      suite: suiteOf(row.active_hash, row.document),
      watermarkMs: numberOrNull(row.watermark_ms),
      maxObservedMs: numberOrNull(row.max_observed_ms),
      scoredTickMs: numberOrNull(row.scored_tick_ms),
      decidedTickMs: numberOrNull(row.decided_tick_ms),
      traceId: row.trace_id,
    },
  }));
}

/** The active version of every suite. */
export async function loadActiveSuites(tx: Tx): Promise<readonly { readonly tenant: string; readonly suite: Suite }[]> {
  const rows = await tx.query<{ tenant: string; suite_hash: string; document: unknown }>(
    'select tenant, suite_hash, document from suites where active',
  );
  return rows.map((row) => ({ tenant: row.tenant, suite: suiteOf(row.suite_hash, row.document) }));
}

export async function saveSuiteState(tx: Tx, state: SuiteState): Promise<void> {
  await tx.execute(
    `insert into suite_states (tenant, suite, suite_hash, watermark_ms, max_observed_ms, scored_tick_ms, decided_tick_ms, trace_id)
     values ($1, $2, $3, $4, $5, $6, $7, $8)
     on conflict (tenant, suite) do update set suite_hash = excluded.suite_hash, watermark_ms = excluded.watermark_ms,
       max_observed_ms = excluded.max_observed_ms, scored_tick_ms = excluded.scored_tick_ms,
       decided_tick_ms = excluded.decided_tick_ms, trace_id = excluded.trace_id`,
    [
      state.tenant,
      state.suite.name,
      state.suite.hash,
      state.watermarkMs,
      state.maxObservedMs,
      state.scoredTickMs,
      state.decidedTickMs,
      state.traceId,
    ],
  );
}
