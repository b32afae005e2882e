import { parseArgs } from 'node:util';
import { fails, type Row, tableOf } from '../harness.ts';
import { DEFAULT_TRACE } from './gpu-trace.ts';
import { Progress } from './progress.ts';

export interface RowOptions {
  readonly signal: AbortSignal;
  readonly progress: Progress;
  /** The folder of the GPU trace. */
  readonly trace: string;
}

type Rows = (options: RowOptions) => Promise<readonly Row[]>;

/** `npm run bench:scheduler -- NAME…`: the rows that are named, all of them where none is. Exit 1 where one is below its floor. */
const ROWS: Readonly<Record<string, Rows>> = {
  kueue: async (options) => (await import('./kueue-row.ts')).kueueRows(options),
  trace: async (options) => [
    ...(await (await import('./packing-row.ts')).packingRows(options)),
    ...(await (await import('./queueing-row.ts')).queueingRows(options)),
  ],
  cycles: async (options) => (await import('./cycles-row.ts')).cycleRows(options),
  reservations: async (options) => (await import('./reservations-row.ts')).reservationRows(options),
  durable: async (options) => (await import('./durable-row.ts')).durableRows(options),
  overhead: async (options) => (await import('./overhead-row.ts')).overheadRows(options),
};

const EXIT_USAGE = 2;
const EXIT_INTERRUPTED = 130;

function askedRows(): { readonly names: readonly string[]; readonly trace: string } | { readonly mistake: string } {
  try {
    const { values, positionals } = parseArgs({ allowPositionals: true, options: { trace: { type: 'string' } } });
    const unknown = positionals.filter((name) => !Object.hasOwn(ROWS, name));
    if (unknown.length > 0) return { mistake: `there are no rows named ${unknown.join(', ')}` };
    const names = positionals.length > 0 ? [...new Set(positionals)] : Object.keys(ROWS);
    return { names, trace: values.trace ?? DEFAULT_TRACE };
  } catch (error) {
    return { mistake: (error as Error).message };
  }
}

/** What was measured is shown, also when Ctrl-C ends it before all was. */
async function main(): Promise<number> {
  const asked = askedRows();
  if ('mistake' in asked) {
    console.error(`bench: ${asked.mistake}\n  mend: name ${Object.keys(ROWS).join(', ')}, or --trace FOLDER`);
    return EXIT_USAGE;
  }
  const interrupt = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interrupt.abort(new Error(name)));
  const progress = new Progress(process.stderr);
  const rows: Row[] = [];
  try {
    for (const name of asked.names) {
      progress.say(`measuring ${name} …`);
      rows.push(...(await ROWS[name]!({ signal: interrupt.signal, progress, trace: asked.trace })));
      interrupt.signal.throwIfAborted();
    }
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
  } finally {
    progress.clear();
    if (rows.length > 0) console.log(tableOf(rows));
  }
  if (interrupt.signal.aborted) return EXIT_INTERRUPTED;
  return fails(rows) ? 1 : 0;
}

process.exitCode = await main();
