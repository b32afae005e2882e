import type { GuardInput } from '../../../pools/planner-input.ts';
import { type BenchDatabase, type BenchPostgres, startBenchPostgres } from '../database.ts';
import { type Row, row } from '../harness.ts';
import { type Quota, quotaBound } from './bounds.ts';
import { type CommitCycle, checkLedger, ledgerCommit, openAccounts } from './commit-cycle.ts';
import { movesCommit } from './commit-moves.ts';
import { lostShare, makespanOf, waitsOf } from './figures.ts';
import { BASELINE, type Generator, LARGE_SCALE, workloadsOf } from './kueue-generators.ts';
import { kueuePlanner, longestMs, unbroken } from './kueue-planner.ts';
import { judgeOf, quotasOf } from './kueue-quotas.ts';
import type { RowOptions } from './rows.ts';
import { runOnWallClock, type WallClockRun } from './wall-clock.ts';
import type { Work } from './work.ts';

/**
 * Kueue's generators by the wall clock, with the planner's decisions durable in Postgres before they count. What a commit holds is
 * told at `ledgerCommit` and `movesCommit`.
 */

const MAKESPAN_FLOOR = 1.1;
const BOOKINGS_FLOOR = 2_000;
const BOOKINGS_AIM = 10_000;
/** Twice the longest run: what commits take is added to one by the wall clock. */
const MIN_RUN_MS = 2 * longestMs(BASELINE);
const COMMAND = 'npm run bench:scheduler -- durable';
const LEDGER = 'planner and quota ledger';
const LEDGER_PARTS = 'no booking rows, money, audit events, peers or provider';
const MOVES = 'planner and the engine’s moves';
const MOVES_PARTS =
  'three transitions a booking (reserve, release, released) with row, quota, money, attempt, evidence and audit events; no peers or provider';

export async function durableRows(options: RowOptions): Promise<readonly Row[]> {
  const postgres = await startBenchPostgres();
  try {
    const baseline = await measure(postgres, BASELINE, byLedger, options);
    const guarded = await measure(postgres, BASELINE, byLedger, options, unbroken(MIN_RUN_MS));
    const ledger = await measure(postgres, LARGE_SCALE, byLedger, options);
    const moves = await measure(postgres, LARGE_SCALE, byMoves, options);
    const optimum = 'makespan ÷ quota-bound optimum';
    return [
      makespanRow(`${LEDGER}: ${optimum}`, baseline),
      makespanRow(`${LEDGER}, a minimum run time of ${MIN_RUN_MS} ms: ${optimum}`, guarded),
      bookingsRow(LEDGER, LEDGER_PARTS, ledger),
      bookingsRow(MOVES, MOVES_PARTS, moves),
    ];
  } finally {
    await postgres.stop();
  }
}

type Measured = WallClockRun & { readonly told: string };

function makespanRow(what: string, { runs, told }: Measured): Row {
  return row({
    what: `Kueue’s baseline by the wall clock, ${what}`,
    value: makespanOf(runs) / quotaBound(workloadsOf(BASELINE), quotasOf(BASELINE)),
    sense: 'at most',
    floor: MAKESPAN_FLOOR,
    aim: null,
    detail: `${LEDGER_PARTS}; ${told}`,
    command: COMMAND,
  });
}

function bookingsRow(who: string, parts: string, { runs, busyMs, told }: Measured): Row {
  return row({
    what: `Kueue’s large scale by the wall clock, ${who}: durable bookings a second`,
    value: (runs.length * 1000) / busyMs,
    unit: '/s',
    floor: BOOKINGS_FLOOR,
    aim: BOOKINGS_AIM,
    detail: `${parts}; ${told}`,
    command: COMMAND,
  });
}

interface Durable {
  readonly commit: CommitCycle;
  /** After all work has ended. */
  readonly check: (runs: number) => Promise<void>;
}

type Committer = (database: BenchDatabase, works: readonly Work[], quotas: readonly Quota[]) => Promise<Durable>;

const byLedger: Committer = async (database, _works, quotas) => {
  await openAccounts(database, quotas);
  return { commit: ledgerCommit(database), check: (runs) => checkLedger(database, quotas, 2 * runs) };
};

/** Quota and money, made pending and voided: four transfers a run. */
const byMoves: Committer = async (database, works, quotas) => {
  const commit = await movesCommit(database, works, quotas);
  return { commit, check: (runs) => checkLedger(database, quotas, 4 * runs) };
};

async function measure(
  postgres: BenchPostgres,
  generator: Generator,
  committer: Committer,
  { signal, progress }: RowOptions,
  guards: readonly GuardInput[] = [],
): Promise<Measured> {
  const database = await postgres.database();
  try {
    const works = workloadsOf(generator);
    const { commit, check } = await committer(database, works, quotasOf(generator));
    const onProgress = (ended: number, all: number) => progress.show(`${generator.name}, durable`, ended, all);
    const before = { own: process.cpuUsage(), postgresS: postgres.cpuSeconds() };
    const judge = judgeOf(generator);
    const run = await runOnWallClock(works, kueuePlanner(generator, guards), commit, { signal, onProgress, judge });
    const own = process.cpuUsage(before.own);
    const postgresS = postgres.cpuSeconds() - before.postgresS;
    await check(run.runs.length);
    return { ...run, told: toldOf(run, (own.user + own.system) / 1e6, postgresS) };
  } finally {
    await database.close();
  }
}

function toldOf(run: WallClockRun, ownS: number, postgresS: number): string {
  const { runs, commits, busyMs, decidingMs, committingMs } = run;
  return [
    `${runs.length} bookings and as many releases in ${commits} commits over ${seconds(busyMs)}`,
    `${seconds(decidingMs)} of them deciding, ${seconds(committingMs)} waiting for commits`,
    `CPU ${ownS.toFixed(1)} s here and ${postgresS.toFixed(1)} s in Postgres`,
    `${waitsOf(runs).get('all')!.evictions} evictions lost ${(100 * lostShare(runs)).toFixed(1)} % of what was held`,
  ].join(', ');
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
