import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from './client.ts';
import { CliError, EXIT } from './exit.ts';
import type { Io } from './io.ts';
import { endExit } from './job-ref.ts';
import { followLog } from './log.ts';
import type { Row } from './render.ts';

const POLL_MS = 500;
/** While the server is away, a follower asks again this long before it gives up. */
const AWAY_LIMIT_MS = 60_000;

/** Asks again while the server is away for a moment (a restart does not end a follower). */
export async function patiently<T>(io: Io, signal: AbortSignal, ask: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + AWAY_LIMIT_MS;
  for (let told = false; ; ) {
    try {
      return await ask();
    } catch (error) {
      const away = error instanceof CliError && error.exitCode === EXIT.unreachable;
      if (!away || performance.now() > deadline || signal.aborted) throw error;
      if (!told) io.progress('the server is away; asking again …');
      told = true;
      await sleep(POLL_MS, undefined, { signal });
    }
  }
}

/** Follows a job to its end; tells each change of state on stderr, and its log on stdout where `withLog`. Returns the ended job. */
export async function followJob(
  client: Client,
  io: Io,
  jobId: string,
  signal: AbortSignal,
  withLog: boolean,
): Promise<Row> {
  const look = () => patiently(io, signal, () => client.get<Row>(`/v1/jobs/${jobId}`));
  if (withLog) await followLog(client, io, { jobId, name: String((await look()).name) }, {}, signal);
  for (let shown = ''; ; await sleep(POLL_MS, undefined, { signal })) {
    const job = await look();
    const [reason] = Array.isArray(job.reasons) ? (job.reasons as { text?: unknown }[]) : [];
    const now = `${String(job.state)}${reason?.text === undefined ? '' : `: ${String(reason.text)}`}`;
    if (!withLog && now !== shown) io.note(`${String(job.name)} is ${now}`);
    shown = now;
    if (endExit(job.state) !== undefined) return job;
  }
}
