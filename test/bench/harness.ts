import { loadavg } from 'node:os';

/**
 * Ways to do one job, measured in rounds in which each has its turn, so that what the machine does besides hits all alike. CPU time, medians:
 * only ratios from one run mean anything.
 */

export const ROUNDS = 9;
const WARM_UPS = 2;
/** Below its floor by more than this share a row fails the run: shared machines are that uneven. */
const SLACK = 0.25;

export interface Contender {
  readonly name: string;
  /** Does the job once. The CPU seconds it took where another process did part of it; else this process is looked at. */
  readonly pass: () => undefined | number | Promise<number | undefined>;
}

/** Seconds of CPU, an entry a round. No collection is forced between them: it would throw away what V8 has learnt and slow JavaScript by half. */
export type Times = ReadonlyMap<string, readonly number[]>;

export async function takeTurns(contenders: readonly Contender[], rounds = ROUNDS, warmUps = WARM_UPS): Promise<Times> {
  const times = new Map<string, number[]>(contenders.map(({ name }) => [name, []]));
  for (let round = -warmUps; round < rounds; round++) {
    for (const { name, pass } of contenders) {
      const seconds = await cpuSecondsOf(pass);
      if (round >= 0) times.get(name)!.push(seconds);
    }
  }
  return times;
}

async function cpuSecondsOf(pass: Contender['pass']): Promise<number> {
  const before = process.cpuUsage();
  const told = await pass();
  const { user, system } = process.cpuUsage(before);
  return told ?? (user + system) / 1e6;
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** How many times as much CPU the other takes: the median of the rounds' ratios. */
export function ratioOf(times: Times, ours: string, other: string): number {
  const own = times.get(ours)!;
  return median(times.get(other)!.map((seconds, round) => seconds / own[round]!));
}

/** A line of the table. */
export interface Row {
  readonly what: string;
  /** `null`: not measured here; `detail` says why and what would. */
  readonly value: number | null;
  readonly unit: '×' | 'ms' | '/s';
  /** `at least`: more is better. */
  readonly sense: 'at least' | 'at most';
  /** null: shown for scale only. */
  readonly floor: number | null;
  readonly aim: number | null;
  /** Absolute figures of the run, which mean little by themselves. */
  readonly detail: string;
  /** What keeps it from its aim, where it misses it. */
  readonly limit?: string;
  readonly command: string;
  readonly load: number;
  /** Counted, not timed: the machine has no part in it, and it gets no slack. */
  readonly counted?: boolean;
}

export type RowParts = Omit<Row, 'load' | 'unit' | 'sense'> & Partial<Pick<Row, 'unit' | 'sense'>>;

/** A row with the load as it is now. */
export function row(parts: RowParts): Row {
  return { unit: '×', sense: 'at least', load: loadavg()[0]!, ...parts };
}

export type Verdict =
  | 'meets its aim'
  | 'above its floor'
  | 'within slack of its floor'
  | 'BELOW ITS FLOOR'
  | 'skipped'
  | 'for scale';

export function verdictOf({ value, floor, aim, sense, counted }: Row): Verdict {
  if (value === null) return 'skipped';
  if (floor === null) return 'for scale';
  const reaches = (mark: number) => (sense === 'at least' ? value >= mark : value <= mark);
  if (aim !== null && reaches(aim)) return 'meets its aim';
  if (reaches(floor)) return 'above its floor';
  const slack = counted === true ? 0 : SLACK;
  return reaches(sense === 'at least' ? floor * (1 - slack) : floor * (1 + slack))
    ? 'within slack of its floor'
    : 'BELOW ITS FLOOR';
}

/** Only by a ratio: what takes milliseconds on a busy machine says as much of its neighbours. */
export function fails(rows: readonly Row[]): boolean {
  return rows.some((one) => one.unit === '×' && verdictOf(one) === 'BELOW ITS FLOOR');
}

const UNITS = { '×': '×', ms: ' ms', '/s': '/s' } as const;

/** The rows as a table for a person. */
export function tableOf(rows: readonly Row[]): string {
  const cells = rows.map((one) => [
    one.what,
    one.value === null ? '–' : `${one.value.toFixed(one.unit === '/s' ? 0 : 2)}${UNITS[one.unit]}`,
    markOf(one, one.floor),
    markOf(one, one.aim),
    verdictOf(one),
    one.load.toFixed(1),
    one.command,
  ]);
  const head = ['row', 'measured', 'floor', 'aim', 'verdict', 'load', 'command'];
  const widths = head.map((title, column) => Math.max(title.length, ...cells.map((line) => line[column]!.length)));
  const lineOf = (line: readonly string[]) =>
    line
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd();
  const notes = rows.flatMap((one) => {
    const missed = one.aim !== null && verdictOf(one) !== 'meets its aim' && one.limit !== undefined;
    return [`${one.what}: ${one.detail}`, ...(missed ? [`    limit: ${one.limit}`] : [])];
  });
  return [lineOf(head), ...cells.map(lineOf), '', ...notes].join('\n');
}

function markOf({ unit, sense }: Row, mark: number | null): string {
  return mark === null ? '' : `${sense === 'at least' ? '≥' : '≤'} ${mark}${UNITS[unit]}`;
}

/** `1.23 µs` of something done `count` times. */
export function each(seconds: number, count: number): string {
  const us = (seconds / count) * 1e6;
  return us < 10 ? `${us.toFixed(2)} µs` : `${us.toFixed(1)} µs`;
}
