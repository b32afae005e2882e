import { connect } from '../client.ts';
import { EXIT, usage } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { jobIdOf } from '../job-ref.ts';
import { type Row, showOne } from '../render.ts';
import { JOBS } from '../shapes.ts';
import type { Format } from '../values.ts';

export default async function cancel(invocation: Invocation): Promise<number> {
  const { args, options, io, signal } = invocation;
  if (options.yes !== true && !(io.stdinIsTerminal && io.stderrIsTerminal)) {
    throw usage('cancel ends a job, and there is no terminal to ask on', 'add --yes');
  }
  const client = await connect(invocation);
  const id = await jobIdOf(client, args[0] ?? '');
  if (options.yes !== true) {
    const job = await client.get<Row>(`/v1/jobs/${id}`);
    if (!(await io.confirm(`Cancel ${String(job.name)} (${id}), which is ${String(job.state)}?`, signal))) {
      io.note('nothing was done');
      return EXIT.ok;
    }
  }
  const job = await client.json<Row>('POST', `/v1/jobs/${id}:cancel`);
  await showOne(io, options.output as Format, JOBS, job);
  return EXIT.ok;
}
