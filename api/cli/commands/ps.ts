import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, showList } from '../render.ts';
import { JOBS } from '../shapes.ts';
import type { Format } from '../values.ts';

export default async function ps(invocation: Invocation): Promise<number> {
  const { options, io } = invocation;
  const client = await connect(invocation);
  const query = new URLSearchParams(options.all === true ? {} : { live: 'true' });
  if (options.division !== undefined) query.set('division', String(options.division));
  await showList(
    io,
    options.output as Format,
    JOBS,
    await client.all<Row>(`/v1/jobs${query.size === 0 ? '' : `?${query}`}`),
  );
  return EXIT.ok;
}
