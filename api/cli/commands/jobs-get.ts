import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { jobIdOf } from '../job-ref.ts';
import { type Row, showOne } from '../render.ts';
import { JOBS, jobText } from '../shapes.ts';
import type { Format } from '../values.ts';

export default async function jobsGet(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const client = await connect(invocation);
  const job = await client.get<Row>(`/v1/jobs/${await jobIdOf(client, args[0] ?? '')}`);
  await showOne(io, options.output as Format, JOBS, job, jobText(job));
  return EXIT.ok;
}
