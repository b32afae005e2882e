import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, showList } from '../render.ts';
import { RETRAINS } from '../shapes.ts';
import type { Format } from '../values.ts';

export default async function retrainsLs(invocation: Invocation): Promise<number> {
  const { options, io } = invocation;
  const client = await connect(invocation);
  const query = options.model === undefined ? '' : `?model=${encodeURIComponent(String(options.model))}`;
  const { items } = await client.get<{ items: readonly Row[] }>(`/v1/retrains${query}`);
  await showList(io, options.output as Format, RETRAINS, items);
  return EXIT.ok;
}
