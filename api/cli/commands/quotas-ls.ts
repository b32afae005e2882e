import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, showList } from '../render.ts';
import { BALANCES } from '../shapes.ts';
import type { Format } from '../values.ts';

export default async function quotasLs(invocation: Invocation): Promise<number> {
  const { options, io } = invocation;
  const query = new URLSearchParams();
  for (const name of ['division', 'group', 'pool'])
    if (options[name] !== undefined) query.set(name, String(options[name]));
  const client = await connect(invocation);
  const { items } = await client.get<{ items: readonly Row[] }>(`/v1/quotas${query.size === 0 ? '' : `?${query}`}`);
  await showList(io, options.output as Format, BALANCES, items);
  return EXIT.ok;
}
