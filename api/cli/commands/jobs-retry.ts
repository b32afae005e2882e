import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { jobIdOf } from '../job-ref.ts';
import { type Row, showOne } from '../render.ts';
import { JOBS } from '../shapes.ts';
import type { Format } from '../values.ts';

/** A job that has ended goes again, as a booking of its own: what is shown is that one. */
export default async function jobsRetry(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const client = await connect(invocation);
  const id = await jobIdOf(client, args[0] ?? '');
  const job = await client.json<Row>('POST', `/v1/jobs/${id}:retry${options.force === true ? '?force=true' : ''}`);
  await showOne(io, options.output as Format, JOBS, job);
  io.progress(`${id} goes again as ${String(job.id)}; follow it with: merit logs -f ${String(job.id)}`);
  return EXIT.ok;
}
