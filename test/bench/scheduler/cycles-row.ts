import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { each, median, type Row, ratioOf, row, takeTurns } from '../harness.ts';
import { SHAPES } from './cycles-load.ts';
import type { RowOptions } from './rows.ts';

/** What a cycle costs beside a thousand and beside a million that wait, by CPU time, in turns; each planner is in a process of its own. */

const SIZES = [1_000, 10_000, 100_000, 1_000_000];
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

export async function cycleRows({ signal, progress }: RowOptions): Promise<readonly Row[]> {
  const children = new Map<number, PlannerProcess>();
  const last = new Map<number, Told>();
  try {
    for (const size of SIZES) {
      progress.show('filling planners', children.size, SIZES.length);
      children.set(size, await PlannerProcess.start(size, signal));
    }
    const contenders = SIZES.map((size) => ({
      name: String(size),
      pass: async () => {
        const told = await children.get(size)!.steps(STEPS);
        last.set(size, told);
        // The planners' states differ by what waits: a step may come to more or fewer cycles.
        return told.cpuS / told.cycles;
      },
    }));
    const times = await takeTurns(contenders, ROUNDS);
    const [least, ...more] = SIZES.map(String);
    const told = (size: string) => {
      const { pending, rssMib, cycles, admitted } = last.get(Number(size))!;
      const us = each(median(times.get(size)!), 1);
      return `${pending} waiting ${us} a cycle, ${(cycles / STEPS).toFixed(1)} cycles and ${(admitted / STEPS).toFixed(1)} admissions a step, ${rssMib.toFixed(0)} MiB`;
    };
    return more.map((size) =>
      row({
        what: `a cycle beside ${Number(size).toLocaleString('en')} waiting ÷ beside 1,000, ${SHAPES} shapes`,
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

  private constructor(size: number, signal: AbortSignal) {
    const execArgv = ['--conditions=merit-source', `--max-old-space-size=${MAX_HEAP_MIB}`];
    this.#child = fork(CHILD, [String(size)], { execArgv });
    this.#signal = signal;
    this.#ended = once(this.#child, 'exit').then(([code, how]) => {
      throw new Error(`the planner with ${size} waiting ended with ${code ?? how}`);
    });
    this.#ended.catch(() => {});
  }

  static async start(size: number, signal: AbortSignal): Promise<PlannerProcess> {
    const started = new PlannerProcess(size, signal);
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
