import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import { copyLog, followJob, type LogPosition } from '../follow.ts';
import type { Invocation } from '../invocation.ts';
import { jobIdOf } from '../job-ref.ts';

const POLL_MS = 500;

/** The log as it is on stdout; with -f until the job ended. */
export default async function logs(invocation: Invocation): Promise<number> {
  const { args, options, io, signal } = invocation;
  const client = await connect(invocation);
  const id = await jobIdOf(client, args[0] ?? '');
  // A job that is not there is told as such, not as an empty log.
  await client.get(`/v1/jobs/${id}`);
  const attempt = options.attempt as number | undefined;
  if (options.follow !== true) {
    const { any, done } = await copyLog(client, io, id, { attempt, fromByte: 0 });
    if (!any && !done) io.note('it has written no log yet; see "merit why"');
    return EXIT.ok;
  }
  if (attempt === undefined) {
    await followJob(client, io, id, signal, true);
    return EXIT.ok;
  }
  let at: LogPosition = { attempt, fromByte: 0 };
  for (;;) {
    const copied = await copyLog(client, io, id, at);
    if (copied.done) return EXIT.ok;
    at = copied.at;
    await sleep(POLL_MS, undefined, { signal });
  }
}
