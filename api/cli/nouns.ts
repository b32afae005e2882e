import { type Client, connect } from './client.ts';
import { CliError, EXIT } from './exit.ts';
import { readDescription } from './files.ts';
import type { Invocation } from './invocation.ts';
import { type Row, type Shape, showList, showOne, wholeText } from './render.ts';
import { MODELS, POOLS, SUITES } from './shapes.ts';
import type { Format } from './values.ts';

const SHAPES: Readonly<Record<'suites' | 'models' | 'pools', Shape>> = { suites: SUITES, models: MODELS, pools: POOLS };

/** `merit suites|models|pools ls|get|apply`. */
export async function nounCommand(
  plural: 'suites' | 'models' | 'pools',
  verb: 'list' | 'get' | 'apply',
  invocation: Invocation,
): Promise<number> {
  const { args, io, options } = invocation;
  const format = options.output as Format;
  const shape = SHAPES[plural];
  if (verb === 'apply') return apply(plural, shape, format, invocation);
  const client = await connect(invocation);
  if (verb === 'list') await showList(io, format, shape, await client.all<Row>(`/v1/${plural}`));
  else {
    const row = await client.get<Row>(`/v1/${plural}/${encodeURIComponent(args[0] ?? '')}`);
    await showOne(io, format, shape, row, await wholeText(row));
  }
  return EXIT.ok;
}

async function apply(plural: string, shape: Shape, format: Format, invocation: Invocation): Promise<number> {
  const { io, options } = invocation;
  const document = await readDescription(io, String(options.file));
  const name = nameIn(document);
  const client = await connect(invocation);
  const row = await put(
    client,
    `/v1/${plural}/${encodeURIComponent(name)}`,
    document,
    options.ifVersion as string | undefined,
  );
  await showOne(io, format, shape, row);
  return EXIT.ok;
}

/** The name that a file gives to what it describes. */
export function nameIn(document: Readonly<Record<string, unknown>>): string {
  const { name } = document;
  if (typeof name !== 'string' || name === '')
    throw new CliError(EXIT.badValue, 'required', 'name: is missing in the file', { mend: 'add name: …' });
  return name;
}

async function put(client: Client, path: string, body: unknown, ifVersion: string | undefined): Promise<Row> {
  const headers: Record<string, string> = ifVersion === undefined ? {} : { 'if-match': `"${ifVersion}"` };
  return client.json<Row>('PUT', path, { body, headers });
}
