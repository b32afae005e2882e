import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { jobIdOf } from '../job-ref.ts';
import { type Row, showList } from '../render.ts';
import { JOB_EVENTS } from '../shapes.ts';
import type { Format } from '../values.ts';

export default async function jobsEvents(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const client = await connect(invocation);
  const { items } = await client.get<{ items: readonly Row[] }>(
    `/v1/jobs/${await jobIdOf(client, args[0] ?? '')}/events`,
  );
  await showList(io, options.output as Format, JOB_EVENTS, items);
  return EXIT.ok;
}
