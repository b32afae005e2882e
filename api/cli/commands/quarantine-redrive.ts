import { connect } from '../client.ts';
import { EXIT, usage } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { filterIn } from '../quarantine-commands.ts';
import { safeJson } from '../text.ts';

interface Redriven {
  readonly redriven: number;
  readonly already: number;
  readonly left: number;
  readonly never: number;
}

const PATH = '/v1/quarantine:redrive';

/** Has lines read once more; asks first, with their number. */
export default async function quarantineRedrive(invocation: Invocation): Promise<number> {
  const { args, options, io, signal } = invocation;
  const filter = filterIn(options);
  if (args.length > 0 && (Object.keys(filter).length > 0 || options.limit !== undefined))
    throw usage('both lines and flags that find lines are given', 'name lines, or find them by flags: one of the two');
  if (args.length === 0 && Object.keys(filter).length === 0)
    throw usage('no line is named and no flag finds any', 'name lines, or find them: --reason unknown_version');
  if (options.yes !== true && options.dryRun !== true && !(io.stdinIsTerminal && io.stderrIsTerminal))
    throw usage(
      'redrive has lines read again, and there is no terminal to ask on',
      'add --yes, or look with --dry-run',
    );
  const client = await connect(invocation);
  const wanted =
    args.length > 0 ? { ids: args } : { filter, ...(options.limit === undefined ? {} : { limit: options.limit }) };
  const ask = (dryRun: boolean) => client.json<Redriven>('POST', PATH, { body: { ...wanted, dryRun } });
  const dryRun = options.dryRun === true;
  if (options.yes !== true && !dryRun) {
    const { redriven } = await ask(true);
    if (
      redriven > 0 &&
      !(await io.confirm(`Have ${redriven} ${redriven === 1 ? 'line' : 'lines'} read again?`, signal))
    ) {
      io.note('nothing was done');
      return EXIT.ok;
    }
  }
  const done = await ask(dryRun);
  const json = options.output === 'json' || options.output === 'yaml';
  await io.out(json ? `${safeJson(done)}\n` : `${textOf(done, dryRun)}\n`);
  return EXIT.ok;
}

function textOf({ redriven, already, left, never }: Redriven, dryRun: boolean): string {
  return [
    `${redriven} ${dryRun ? 'would be sent' : 'sent'} again`,
    ...(already > 0 ? [`${already} sent again before`] : []),
    ...(left > 0 ? [`${left} left for another go`] : []),
    ...(never > 0 ? [`${never} that no second reading mends`] : []),
  ].join(', ');
}
