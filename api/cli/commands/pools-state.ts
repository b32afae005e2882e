import { connect, ifMatch } from '../client.ts';
import { EXIT, usage } from '../exit.ts';
import type { CommandModule, Invocation } from '../invocation.ts';
import { type Row, showOne } from '../render.ts';
import { POOLS } from '../shapes.ts';
import type { Format } from '../values.ts';

async function post(verb: 'cordon' | 'uncordon' | 'drain', invocation: Invocation): Promise<number> {
  const { args, io, options } = invocation;
  const client = await connect(invocation);
  const query = options.node === undefined ? '' : `?node=${encodeURIComponent(String(options.node))}`;
  const path = `/v1/pools/${encodeURIComponent(args[0] ?? '')}:${verb}${query}`;
  const pool = await client.json<Row>('POST', path, { headers: ifMatch(options) });
  await showOne(io, options.output as Format, POOLS, pool);
  return EXIT.ok;
}

/** What runs there loses its place: it is asked first. */
async function drainPool(invocation: Invocation): Promise<number> {
  const { args, io, options, signal } = invocation;
  if (options.yes !== true) {
    if (!(io.stdinIsTerminal && io.stderrIsTerminal))
      throw usage('drain has all that runs there leave it, and there is no terminal to ask on', 'add --yes');
    const what = `${options.node === undefined ? '' : `machine ${String(options.node)} of `}pool ${args[0] ?? ''}`;
    if (!(await io.confirm(`Drain ${what}: all that runs there has to leave?`, signal))) {
      io.note('nothing was done');
      return EXIT.ok;
    }
  }
  return post('drain', invocation);
}

export const cordon: CommandModule = { default: (invocation) => post('cordon', invocation) };
export const uncordon: CommandModule = { default: (invocation) => post('uncordon', invocation) };
export const drain: CommandModule = { default: drainPool };
