import { connect, problemError } from '../client.ts';
import { EXIT, usage } from '../exit.ts';
import { writeOutputFile } from '../files.ts';
import type { Invocation } from '../invocation.ts';

const EXPORT_TIMEOUT_MS = 30 * 60_000;

/** The chain as one file, the roots to pin as another; either alone too. */
export default async function auditExport(invocation: Invocation): Promise<number> {
  const { options, io } = invocation;
  if (options.out === undefined && options.roots === undefined)
    throw usage(
      'audit export writes nothing without --out or --roots',
      'merit audit export --out chain.jsonl --roots roots.json',
    );
  const client = await connect(invocation);
  // The roots first: they then cover no more than the chain does.
  for (const [path, from] of [
    [options.roots, '/v1/audit/roots'],
    [options.out, '/v1/audit/bundle'],
  ] as const) {
    if (path === undefined) continue;
    const reply = await client.request('GET', from, { timeoutMs: EXPORT_TIMEOUT_MS });
    if (reply.status !== 200) throw problemError(reply.status, JSON.parse(reply.bytes.toString('utf8')));
    await writeOutputFile(io, String(path), reply.bytes);
    io.note(`written: ${String(path)}`);
  }
  return EXIT.ok;
}
