import { CHANGES } from '../capacity-shapes.ts';
import { connect, ifMatch } from '../client.ts';
import { EXIT, usage } from '../exit.ts';
import type { CommandModule, Invocation } from '../invocation.ts';
import { type Row, showOne } from '../render.ts';
import type { Format } from '../values.ts';

interface Removed extends Row {
  readonly changes: readonly Row[];
}

/** Takes a document away that nothing rests on; it is asked first. `one`: what it is called; a path without a name is of the only one. */
export function removal(path: string, one: string): CommandModule {
  return { default: (invocation) => remove(invocation, path, one) };
}

async function remove(invocation: Invocation, path: string, one: string): Promise<number> {
  const { args, io, options, signal } = invocation;
  const [name] = args;
  const what = name === undefined ? one : `${one} ${name}`;
  const isTry = options.dryRun === true;
  if (options.yes !== true && !isTry) {
    if (!(io.stdinIsTerminal && io.stderrIsTerminal))
      throw usage(`rm takes the ${one} away, and there is no terminal to ask on`, 'add --yes');
    if (!(await io.confirm(`Remove the ${what}?`, signal))) {
      io.note('nothing was done');
      return EXIT.ok;
    }
  }
  const client = await connect(invocation);
  const query = new URLSearchParams({
    ...(options.currency === undefined ? {} : { currency: String(options.currency) }),
    ...(isTry ? { dryRun: 'true' } : {}),
  });
  const url = `${path}${name === undefined ? '' : `/${encodeURIComponent(name)}`}${query.size === 0 ? '' : `?${query}`}`;
  const removed = await client.json<Removed>('DELETE', url, { headers: ifMatch(options) });
  const format = options.output as Format;
  await showOne(
    io,
    format,
    CHANGES,
    format === 'json' || format === 'yaml' ? removed : (removed.changes[0] ?? removed),
  );
  if (isTry) io.progress('nothing was changed');
  return EXIT.ok;
}
