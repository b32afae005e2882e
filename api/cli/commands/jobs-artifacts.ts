import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { jobIdOf } from '../job-ref.ts';
import { type Row, showList, showOne } from '../render.ts';
import { FILES } from '../shapes.ts';
import type { Format } from '../values.ts';

/** The files in a table; the whole manifest in JSON and YAML. */
export default async function jobsArtifacts(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const format = options.output as Format;
  const client = await connect(invocation);
  const artifacts = await client.get<Row>(`/v1/jobs/${await jobIdOf(client, args[0] ?? '')}/artifacts`);
  if (format === 'json' || format === 'yaml') await showOne(io, format, FILES, artifacts);
  else await showList(io, format, FILES, Array.isArray(artifacts.files) ? (artifacts.files as readonly Row[]) : []);
  return EXIT.ok;
}
