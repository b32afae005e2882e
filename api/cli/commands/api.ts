import { connect, problemError } from '../client.ts';
import { CliError, EXIT, usage } from '../exit.ts';
import { readDescription } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { safeJson } from '../text.ts';

const METHODS = ['GET', 'POST', 'PUT', 'DELETE'];

/** Calls the API as it is: the reply's body on stdout. */
export default async function api(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const [method = '', path = ''] = args;
  if (!METHODS.includes(method.toUpperCase()))
    throw usage(`${JSON.stringify(method)} is not a method`, 'merit api GET /v1/jobs');
  if (!path.startsWith('/') || path.startsWith('//'))
    throw new CliError(EXIT.badValue, 'path', 'the path must start with one /', { mend: 'merit api GET /v1/jobs' });
  const body = options.file === undefined ? undefined : await readDescription(io, String(options.file));
  const headers: Record<string, string> =
    options.idempotencyKey === undefined ? {} : { 'idempotency-key': String(options.idempotencyKey) };
  const client = await connect(invocation);
  const reply = await client.request(method.toUpperCase(), path, { headers, ...(body === undefined ? {} : { body }) });
  const json =
    reply.headers.get('content-type')?.includes('json') === true &&
    !reply.headers.get('content-type')?.includes('jsonl');
  const value: unknown = json && reply.bytes.length > 0 ? JSON.parse(reply.bytes.toString('utf8')) : undefined;
  if (reply.status >= 400) throw problemError(reply.status, value);
  await io.out(value === undefined ? reply.bytes : `${safeJson(value)}\n`);
  return EXIT.ok;
}
