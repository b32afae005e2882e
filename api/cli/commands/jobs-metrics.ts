import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { metricsText, USAGE, usageRows } from '../job-metrics.ts';
import { jobIdOf } from '../job-ref.ts';
import { type Row, showOne, table } from '../render.ts';
import type { Format } from '../values.ts';

/** Totals, then what was used over time; -o json has all of it. */
export default async function jobsMetrics(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const client = await connect(invocation);
  const metrics = await client.get<Row>(`/v1/jobs/${await jobIdOf(client, args[0] ?? '')}/metrics`);
  const rows = usageRows(metrics);
  const overTime = rows.length === 0 ? '' : `\n${table(USAGE.columns, rows, options.output === 'wide')}`;
  await showOne(io, options.output as Format, USAGE, metrics, `${metricsText(metrics)}${overTime}`);
  return EXIT.ok;
}
