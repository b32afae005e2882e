import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, connect } from '../client.ts';
import { CliError, EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { jobIdOf } from '../job-ref.ts';
import { type Row, showOne } from '../render.ts';
import { JOBS, jobText } from '../shapes.ts';
import type { Format } from '../values.ts';

const POLL_MS = 300;
/** The server gives an extension up after 5 minutes. */
const MAX_WAIT_MS = 6 * 60_000;

/** Asks for a longer lease, and waits until policy and Finance have said what they say. */
export default async function jobsExtend(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const client = await connect(invocation);
  const id = await jobIdOf(client, args[0] ?? '');
  const asked = await client.json<Row>('POST', `/v1/jobs/${id}:extend`, { body: { by: options.by } });
  const number = extensionsOf(asked).length;
  const job = options.detach === true ? asked : await answered(client, id, number, invocation.signal);
  await showOne(io, options.output as Format, JOBS, job, jobText(job));
  return EXIT.ok;
}

function extensionsOf(job: Row): readonly Row[] {
  return Array.isArray(job.extensions) ? (job.extensions as readonly Row[]) : [];
}

/** The job once its extension is granted; throws what it is refused for. */
async function answered(client: Client, id: string, number: number, signal: AbortSignal): Promise<Row> {
  for (const until = Date.now() + MAX_WAIT_MS; Date.now() < until; await sleep(POLL_MS, undefined, { signal })) {
    const job = await client.get<Row>(`/v1/jobs/${id}`);
    const one = extensionsOf(job)[number - 1];
    if (one?.state === 'granted') return job;
    if (one?.state === 'refused') throw refusal(one.reason as Row);
    if (job.state !== 'applied')
      throw new CliError(EXIT.conflict, 'not_running', `the job is ${String(job.state)} now: it gets no more time`, {
        mend: 'see `merit why`',
      });
  }
  throw new CliError(EXIT.unreachable, 'timeout', 'there is no answer yet', { mend: 'see `merit jobs get`' });
}

function refusal({ code, text, mend }: Row): CliError {
  const exit = code === 'extension_timeout' ? EXIT.unreachable : EXIT.denied;
  return new CliError(exit, String(code), `no more time: ${String(text)}`, { mend: String(mend) });
}
