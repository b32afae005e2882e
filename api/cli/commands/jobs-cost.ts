import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { jobIdOf } from '../job-ref.ts';
import { facts, type Row, showOne } from '../render.ts';
import { JOBS } from '../shapes.ts';
import type { Format } from '../values.ts';

export default async function jobsCost(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const client = await connect(invocation);
  const cost = await client.get<Row>(`/v1/jobs/${await jobIdOf(client, args[0] ?? '')}/cost`);
  await showOne(io, options.output as Format, JOBS, cost, facts(Object.entries(cost)));
  return EXIT.ok;
}
