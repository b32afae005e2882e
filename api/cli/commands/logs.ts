import { connect } from '../client.ts';
import { CliError, EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { endExit, jobIdOf } from '../job-ref.ts';
import { copyLog, followLog } from '../log.ts';
import type { Row } from '../render.ts';

/** The log as it is on stdout. With -f until the job ended, whose outcome is then the exit code; with an attempt too, until that ended. */
export default async function logs(invocation: Invocation): Promise<number> {
  const { args, options, io, signal } = invocation;
  const client = await connect(invocation);
  const id = await jobIdOf(client, args[0] ?? '');
  const { attempt, fromByte, tail } = options as { attempt?: number; fromByte?: number; tail?: number };
  if (tail !== undefined && fromByte !== undefined)
    throw new CliError(EXIT.usage, 'usage', '--tail and --from-byte say both where to begin', { mend: 'keep one' });
  // A job that is not there is told as such, not as an empty log.
  const job = await client.get<Row>(`/v1/jobs/${id}`);
  if (options.follow === true) {
    const state = await followLog(
      client,
      io,
      { jobId: id, name: String(job.name) },
      { attempt, fromByte, tail },
      signal,
    );
    return endExit(state) ?? EXIT.ok;
  }
  const any = await copyLog(client, io, id, { attempt, fromByte, tail }, signal);
  if (!any && endExit(job.state) === undefined) io.note('it has written no log yet; see "merit why"');
  return EXIT.ok;
}
