import { connect } from '../client.ts';
import { CliError, EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { metricsText } from '../job-metrics.ts';
import { jobIdOf } from '../job-ref.ts';
import { type Row, showOne } from '../render.ts';
import { JOBS, jobText } from '../shapes.ts';
import type { Format } from '../values.ts';

/** The job, and for a person what it waited, ran, used and left; `merit jobs metrics` has that over time. */
export default async function jobsGet(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const client = await connect(invocation);
  const id = await jobIdOf(client, args[0] ?? '');
  const job = await client.get<Row>(`/v1/jobs/${id}`);
  const format = options.output as Format;
  const forPerson = format === 'table' || format === 'wide';
  const metrics = forPerson ? await client.get<Row>(`/v1/jobs/${id}/metrics`).catch(noneYet) : {};
  await showOne(io, format, JOBS, job, `${jobText(job)}${metricsText(metrics)}`);
  return EXIT.ok;
}

/** A server that is older than this command has none. */
function noneYet(error: unknown): Row {
  if (error instanceof CliError && error.exitCode === EXIT.notFound) return {};
  throw error;
}
