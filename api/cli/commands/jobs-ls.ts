import { TRANSITIONS } from '../../../core/booking.ts';
import { connect } from '../client.ts';
import { CliError, EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, showList } from '../render.ts';
import { JOBS } from '../shapes.ts';
import type { Format } from '../values.ts';

export default async function jobsLs(invocation: Invocation): Promise<number> {
  const { options, io } = invocation;
  if (options.state !== undefined && !Object.hasOwn(TRANSITIONS, String(options.state))) {
    throw new CliError(EXIT.badValue, 'state', `--state: ${JSON.stringify(options.state)} is not a state of a job`, {
      mend: `write one of ${Object.keys(TRANSITIONS).join(', ')}`,
    });
  }
  const query = new URLSearchParams();
  for (const name of ['state', 'division', 'model', 'since'])
    if (options[name] !== undefined) query.set(name, String(options[name]));
  const client = await connect(invocation);
  await showList(
    io,
    options.output as Format,
    JOBS,
    await client.all<Row>(`/v1/jobs${query.size === 0 ? '' : `?${query}`}`),
  );
  return EXIT.ok;
}
