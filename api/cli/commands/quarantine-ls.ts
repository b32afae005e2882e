import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { filterIn } from '../quarantine-commands.ts';
import { type Row, showList } from '../render.ts';
import { QUARANTINE } from '../shapes.ts';
import type { Format } from '../values.ts';

export default async function quarantineLs(invocation: Invocation): Promise<number> {
  const { options, io } = invocation;
  const query = new URLSearchParams({ limit: '500', state: options.all === true ? 'any' : 'open' });
  for (const [name, value] of Object.entries(filterIn(options))) query.set(name, String(value));
  const client = await connect(invocation);
  const lines = await client.all<Row>(`/v1/quarantine?${query}`);
  await showList(io, options.output as Format, QUARANTINE, lines);
  return EXIT.ok;
}
