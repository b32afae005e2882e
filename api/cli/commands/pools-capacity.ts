import { THERE } from '../capacity-shapes.ts';
import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, showList } from '../render.ts';
import type { Format } from '../values.ts';

/** What is declared of a pool, and what its provider says is there. */
export default async function poolsCapacity(invocation: Invocation): Promise<number> {
  const { args, io, options } = invocation;
  const client = await connect(invocation);
  const name = args[0] ?? '';
  const told = await client.get<{ readonly away: string | null; readonly flavours: readonly Row[] }>(
    `/v1/pools/${encodeURIComponent(name)}/capacity`,
  );
  await showList(io, options.output as Format, THERE, told.flavours);
  if (told.away !== null) io.note(`the provider of pool ${name} is away: ${told.away}`);
  const short = told.flavours.filter(({ there, declared }) => there !== null && Number(there) < Number(declared));
  for (const { name: flavour, there, declared, planned } of short) {
    const follows =
      planned === there
        ? 'no more is planned with'
        : 'what else is granted waits at the provider (liveCapacity: true in the pool’s file has it wait here)';
    io.note(`${String(flavour)}: ${String(there)} of ${String(declared)} are there; ${follows}`);
  }
  return EXIT.ok;
}
