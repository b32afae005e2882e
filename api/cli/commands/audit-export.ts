import { connect, problemError } from '../client.ts';
import { EXIT, usage } from '../exit.ts';
import { writeOutputFile, writeOutputStream } from '../files.ts';
import type { Invocation } from '../invocation.ts';

const JSONL = { accept: 'application/jsonl, application/problem+json' };

/** The chain as one file, the roots to pin and the state to cover as others; each alone too. */
export default async function auditExport(invocation: Invocation): Promise<number> {
  const { options, io } = invocation;
  const { out, roots, state } = options;
  if (out === undefined && roots === undefined && state === undefined)
    throw usage(
      'audit export writes nothing without --out, --roots or --state',
      'merit audit export --out chain.jsonl --roots roots.json',
    );
  const client = await connect(invocation);
  // In this order: the chain covers the state, and the roots know every key that signed the chain.
  for (const [path, from] of [
    [state, '/v1/audit/state'],
    [out, '/v1/audit/bundle'],
  ] as const) {
    if (path === undefined) continue;
    await writeOutputStream(io, String(path), await client.stream(from, JSONL));
    io.note(`written: ${String(path)}`);
  }
  if (roots !== undefined) {
    const reply = await client.request('GET', '/v1/audit/roots');
    if (reply.status !== 200) throw problemError(reply.status, JSON.parse(reply.bytes.toString('utf8')));
    await writeOutputFile(io, String(roots), reply.bytes);
    io.note(`written: ${String(roots)}`);
  }
  return EXIT.ok;
}
