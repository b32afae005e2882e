import { connect } from '../client.ts';
import { CliError, EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, showList } from '../render.ts';
import { BALANCES } from '../shapes.ts';
import type { Format } from '../values.ts';

/** All balances of one division, or of one group. */
export default async function quotasGet(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const client = await connect(invocation);
  const name = encodeURIComponent(args[0] ?? '');
  const owners = await Promise.all(
    ['division', 'group'].map((owner) => client.get<{ items: readonly Row[] }>(`/v1/quotas?${owner}=${name}`)),
  );
  const items = owners.flatMap((owner) => owner.items);
  if (items.length === 0)
    throw new CliError(
      EXIT.notFound,
      'not_found',
      `neither a division nor a group ${JSON.stringify(args[0])} has a quota or budget`,
      {
        mend: 'see `merit quotas ls`',
      },
    );
  await showList(io, options.output as Format, BALANCES, items);
  return EXIT.ok;
}
