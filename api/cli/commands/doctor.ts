import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Part, parts } from '../parts.ts';
import { showList } from '../render.ts';
import type { Format } from '../values.ts';

/** Every part with its mend. Exit 0 where what Merit needs is there, though parts that it can do without may be missing; else 78. */
export default async function doctor({ options, io, signal }: Invocation): Promise<number> {
  const found = await parts(io, signal);
  await showList(
    io,
    options.output as Format,
    {
      name: (row) => String(row.part),
      columns: [
        { head: 'PART', cell: (row) => row.part },
        { head: 'STATE', cell: (row) => row.state },
        { head: 'DETAIL', cell: (row) => row.detail },
        { head: 'MEND', cell: (row) => row.mend },
      ],
    },
    found as readonly object[] as readonly Readonly<Record<string, unknown>>[],
  );
  return found.some((part: Part) => part.state === 'missing' && part.needed) ? EXIT.badConfiguration : EXIT.ok;
}
