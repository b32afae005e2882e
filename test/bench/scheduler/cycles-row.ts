import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { each, median, type Row, ratioOf, row, takeTurns } from '../harness.ts';
import { SHAPES } from './cycles-load.ts';
import type { RowOptions } from './rows.ts';

/** What a cycle costs beside few and beside many that wait, by CPU time, in turns; each planner is in a process of its own. */

interface Case {
  /** What cycles-child.ts makes. */
  readonly load: 'waiting' | 'guarded';
  /** The least first: the others are held against it. */
  readonly sizes: readonly number[];
  readonly what: string;
}

const CASES: readonly Case[] = [
  { load: 'waiting', sizes: [1_000, 10_000, 100_000, 1_000_000], what: `waiting, ${SHAPES} shapes` },
  { load: 'guarded', sizes: [100, 300, 1_000], what: 'heads that wait for guards, each of a division of its own' },
];
const STEPS = 200;
const ROUNDS = 7;
const FLOOR = 1.25;
const COMMAND = 'npm run bench:scheduler -- cycles';
const CHILD = fileURLToPath(new URL('./cycles-child.ts', import.meta.url));
/** For a million bookings; the others need none of it. */
const MAX_HEAP_MIB = 6_144;

interface Told {
  readonly cpuS: number;
  readonly cycles: number;
  readonly admitted: number;
  readonly pending: number;
  readonly rssMib: number;
}

export async function cycleRows(options: RowOptions): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const one of CASES) rows.push(...(await rowsOf(one, options)));
  return rows;
}

async function rowsOf({ load, sizes, what }: Case, { signal, progress }: RowOptions): Promise<readonly Row[]> {
  const children = new Map<number, PlannerProcess>();
  const last = new Map<number, Told>();
  try {
    for (const size of sizes) {
      progress.show('filling planners', children.size, sizes.length);
      children.set(size, await PlannerProcess.start(size, load, signal));
    }
    const contenders = sizes.map((size) => ({
      name: String(size),
      pass: async () => {
        const told = await children.get(size)!.steps(STEPS);
        last.set(size, told);
        // The planners' states differ by what waits: a step may come to more or fewer cycles.
        return told.cpuS / told.cycles;
      },
    }));
    const times = await takeTurns(contenders, ROUNDS);
    const [least, ...more] = sizes.map(String);
    const told = (size: string) => {
      const { pending, rssMib, cycles, admitted } = last.get(Number(size))!;
      const us = each(median(times.get(size)!), 1);
      return `${pending} waiting ${us} a cycle, ${(cycles / STEPS).toFixed(1)} cycles and ${(admitted / STEPS).toFixed(1)} admissions a step, ${rssMib.toFixed(0)} MiB`;
    };
    const inWords = (size: string) => Number(size).toLocaleString('en');
    return more.map((size) =>
      row({
        what: `a cycle beside ${inWords(size)} ÷ beside ${inWords(least!)} ${what}`,
        value: ratioOf(times, least!, size),
        sense: 'at most',
        floor: FLOOR,
        aim: null,
        detail: `${told(size)}; ${told(least!)}`,
        command: COMMAND,
      }),
    );
  } finally {
    for (const child of children.values()) child.stop();
  }
}

/** A planner in a process of its own. */
class PlannerProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<never>;
  readonly #signal: AbortSignal;

  private constructor(size: number, load: Case['load'], signal: AbortSignal) {
    const execArgv = ['--conditions=merit-source', `--max-old-space-size=${MAX_HEAP_MIB}`];
    this.#child = fork(CHILD, [String(size), load], { execArgv });
    this.#signal = signal;
    this.#ended = once(this.#child, 'exit').then(([code, how]) => {
      throw new Error(`the planner with ${size} waiting ended with ${code ?? how}`);
    });
    this.#ended.catch(() => {});
  }

  static async start(size: number, load: Case['load'], signal: AbortSignal): Promise<PlannerProcess> {
    const started = new PlannerProcess(size, load, signal);
    try {
      await started.#answer();
      return started;
    } catch (error) {
      started.stop();
      throw error;
    }
  }

  async steps(steps: number): Promise<Told> {
    this.#child.send({ steps });
    return (await this.#answer()) as Told;
  }

  stop(): void {
    this.#child.kill();
  }

  async #answer(): Promise<unknown> {
    const [told] = await Promise.race([once(this.#child, 'message', { signal: this.#signal }), this.#ended]);
    return told;
  }
}
