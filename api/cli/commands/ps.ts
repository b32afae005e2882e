import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { endExit } from '../job-ref.ts';
import { type Row, showList } from '../render.ts';
import { JOBS } from '../shapes.ts';
import type { Format } from '../values.ts';

export default async function ps(invocation: Invocation): Promise<number> {
  const { options, io } = invocation;
  const client = await connect(invocation);
  const division = options.division === undefined ? '' : `?division=${encodeURIComponent(String(options.division))}`;
  const jobs = await client.all<Row>(`/v1/jobs${division}`);
  await showList(
    io,
    options.output as Format,
    JOBS,
    options.all === true ? jobs : jobs.filter((job) => endExit(job.state) === undefined),
  );
  return EXIT.ok;
}
