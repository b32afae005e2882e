import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, showOne, table } from '../render.ts';
import { TOP } from '../shapes.ts';
import type { Format } from '../values.ts';

/** Between two looks on a terminal. */
const REFRESH_MS = 2_000;
const CLEAR = '\u001b[H\u001b[2J';

/** What pools and divisions have, use and wait for; on a terminal again and again until Ctrl-C, else once. */
export default async function top(invocation: Invocation): Promise<number> {
  const { options, io, signal } = invocation;
  const client = await connect(invocation);
  const format = options.output as Format;
  const again = options.once !== true && format === 'table' && io.stdoutIsTerminal;
  for (;;) {
    const answer = await client.get<Row>('/v1/top');
    await showOne(io, format, TOP, answer, `${again ? CLEAR : ''}${topText(answer)}`);
    if (!again) return EXIT.ok;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, REFRESH_MS);
      signal.addEventListener('abort', () => resolve(clearTimeout(timer)), { once: true });
    });
    if (signal.aborted) return EXIT.ok;
  }
}

export function topText(answer: Row): string {
  const flavours = answer.flavours as readonly Row[];
  const divisions = answer.divisions as readonly Row[];
  const etas = Array.isArray(answer.etas) ? (answer.etas as readonly Row[]) : [];
  return `${table(
    [
      { head: 'POOL', cell: (row) => row.pool },
      { head: 'FLAVOUR', cell: (row) => row.flavour },
      { head: 'USED', cell: (row) => `${String(row.used)}/${String(row.capacity)} ${String(row.resource)}` },
      { head: 'FREE', cell: (row) => row.free },
      { head: 'LEAVING', cell: (row) => row.leaving },
      { head: 'JOBS', cell: (row) => row.running },
      { head: 'WAITING', cell: (row) => row.waiting },
      { head: 'ASKED', cell: (row) => row.asked },
      { head: '', cell: (row) => row.away ?? (row.cordoned === true ? 'cordoned' : '') },
    ],
    flavours,
  )}\n${table(
    [
      { head: 'DIVISION', cell: (row) => row.division },
      { head: 'GROUP', cell: (row) => row.group ?? '' },
      { head: 'USED', cell: (row) => `${String(row.used)}/${String(row.nominal)} ${String(row.resource)}` },
      { head: 'BORROWED', cell: (row) => row.borrowed },
      { head: 'JOBS', cell: (row) => row.running },
      { head: 'WAITING', cell: (row) => row.waiting },
      { head: 'ASKED', cell: (row) => row.asked },
      {
        head: 'OLDEST',
        cell: (row) => (typeof row.oldestWaitMs === 'number' ? `${Math.round(row.oldestWaitMs / 1000)}s` : ''),
      },
    ],
    divisions,
  )}${etas
    .filter(({ told }) => told !== 0)
    .map(etaLine)
    .join('')}`;
}

/** How far the start times that are told can be believed. */
function etaLine({ pool, told, heldShare, medianErrorSeconds }: Row): string {
  const percent = Math.round(Number(heldShare) * 100);
  return `\nstart times in ${String(pool)}: ${percent} % of ${String(told)} held, off by ${String(medianErrorSeconds)} s in the median\n`;
}
