import { setTimeout as sleep } from 'node:timers/promises';
import { connect, problemError } from '../client.ts';
import { EXIT } from '../exit.ts';
import { writeOutputFile } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { jobIdOf } from '../job-ref.ts';

/** The last event is under a checkpoint within 5 s of the job's end; a little longer is waited for. */
const SEAL_WAIT_MS = 15_000;
const POLL_MS = 500;

export default async function receipt(invocation: Invocation): Promise<number> {
  const { args, options, io, signal } = invocation;
  const client = await connect(invocation);
  const id = await jobIdOf(client, args[0] ?? '');
  const deadline = performance.now() + SEAL_WAIT_MS;
  for (;;) {
    const reply = await client.request('GET', `/v1/jobs/${id}/receipt`);
    if (reply.status === 200) {
      await writeOutputFile(io, String(options.out), reply.bytes);
      io.note(
        `receipt of ${id}: ${String(options.out)}; check it with "merit audit verify ${String(options.out)} --roots ROOTS"`,
      );
      return EXIT.ok;
    }
    const error = problemError(reply.status, JSON.parse(reply.bytes.toString('utf8')));
    if (error.code !== 'not_yet' || performance.now() > deadline) throw error;
    io.progress(error.message);
    await sleep(POLL_MS, undefined, { signal });
  }
}
