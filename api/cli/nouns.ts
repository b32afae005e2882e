import { PATHS } from './capacity-commands.ts';
import { BUDGETS, DIVISIONS, GROUPS, PRIORITIES, SCHEDULING } from './capacity-shapes.ts';
import { connect, ifMatch } from './client.ts';
import { CliError, EXIT } from './exit.ts';
import { readDescription } from './files.ts';
import type { Invocation } from './invocation.ts';
import { type Row, type Shape, showList, showOne, wholeText } from './render.ts';
import { MODELS, POOLS, SUITES } from './shapes.ts';
import type { Format } from './values.ts';

type Plural = 'suites' | 'models' | 'pools' | 'groups' | 'divisions' | 'budgets' | 'priorities';

const SHAPES: Readonly<Record<Plural, Shape>> = {
  suites: SUITES,
  models: MODELS,
  pools: POOLS,
  groups: GROUPS,
  divisions: DIVISIONS,
  budgets: BUDGETS,
  priorities: PRIORITIES,
};

/** `merit suites|models|pools ls|get|apply`, and `ls|get` of what `merit apply` changes. */
export async function nounCommand(
  plural: Plural,
  verb: 'list' | 'get' | 'apply',
  invocation: Invocation,
): Promise<number> {
  const { args, io, options } = invocation;
  const format = options.output as Format;
  const shape = SHAPES[plural];
  if (verb === 'apply') return apply(plural, shape, format, invocation);
  const client = await connect(invocation);
  const path = `/v1/${PATHS[plural] ?? plural}`;
  if (verb === 'list') await showList(io, format, shape, await client.all<Row>(path));
  else {
    const query = options.currency === undefined ? '' : `?currency=${encodeURIComponent(String(options.currency))}`;
    const row = await client.get<Row>(`${path}/${encodeURIComponent(args[0] ?? '')}${query}`);
    await showOne(io, format, shape, row, await wholeText(row));
  }
  return EXIT.ok;
}

async function apply(plural: string, shape: Shape, format: Format, invocation: Invocation): Promise<number> {
  const { io, options } = invocation;
  const document = await readDescription(io, String(options.file));
  const name = nameIn(document);
  const client = await connect(invocation);
  const path = `/v1/${plural}/${encodeURIComponent(name)}`;
  const row = await client.json<Row>('PUT', path, { body: document, headers: ifMatch(options) });
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

/** The one scheduling document. */
export function schedulingGet(invocation: Invocation): Promise<number> {
  return loneGet(invocation, '/v1/scheduling');
}

export function signingPolicyGet(invocation: Invocation): Promise<number> {
  return loneGet(invocation, '/v1/signing-policy');
}

/** A document that a tenant has one of. */
async function loneGet(invocation: Invocation, path: string): Promise<number> {
  const { io, options } = invocation;
  const client = await connect(invocation);
  const row = await client.get<Row>(path);
  await showOne(io, options.output as Format, SCHEDULING, row, await wholeText(row));
  return EXIT.ok;
}
