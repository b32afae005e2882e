import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, showList } from '../render.ts';
import { EVENTS } from '../shapes.ts';
import type { Format } from '../values.ts';

export default async function auditLs(invocation: Invocation): Promise<number> {
  const { options, io } = invocation;
  const query = new URLSearchParams();
  for (const name of ['subject', 'type']) if (options[name] !== undefined) query.set(name, String(options[name]));
  const client = await connect(invocation);
  await showList(
    io,
    options.output as Format,
    EVENTS,
    await client.all<Row>(`/v1/audit/events${query.size === 0 ? '' : `?${query}`}`),
  );
  return EXIT.ok;
}
