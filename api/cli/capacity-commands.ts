import type { Command } from 'commander';
import type { CommandModule, Invocation } from './invocation.ts';
import type { Define } from './program.ts';
import { providerCommands } from './provider-commands.ts';
import * as values from './values.ts';

/** What the API calls them, where that is not what they are called here. */
export const PATHS: Readonly<Record<string, string>> = { priorities: 'priority-classes' };

/** What operators declare and how much of it is used. */
export function quotaCommands(program: Command, define: Define, pools: Command): void {
  define(
    program
      .command('apply')
      .description('apply pools, groups, budgets and the like, all or none')
      .requiredOption('-f, --file <file>', 'documents, YAML or JSON; several', values.paths)
      .option('--dry-run', 'show field by field what would change')
      .option('--if-version <version>', 'of one document: only if it is still at this version'),
    () => import('./commands/apply.ts'),
  );
  define(
    pools
      .command('capacity')
      .description('what its provider says is there now, beside what is declared and booked')
      .argument('<name>'),
    () => import('./commands/pools-capacity.ts'),
  );
  poolStates(define, pools);
  define(
    pools
      .command('import')
      .description('pools as an applied Terraform configuration tells them')
      .requiredOption(
        '--terraform <path>',
        'its folder, or a file with what `terraform show -json` printed',
        values.path,
      )
      .option('--dry-run', 'show field by field what would change'),
    () => import('./commands/pools-import.ts'),
  );
  listed(program, define, 'groups', 'group', 'groups of divisions');
  listed(program, define, 'divisions', 'division', 'divisions and how they queue');
  const quotas = program.command('quotas').description('what each has, uses, borrows and lends: ls, get, apply');
  define(
    quotas
      .command('ls')
      .description('every balance')
      .option('--division <division>', 'of one division', values.slug)
      .option('--group <group>', 'of one group', values.slug)
      .option('--pool <pool>', 'in one pool', values.slug),
    () => import('./commands/quotas-ls.ts'),
  );
  define(
    quotas.command('get').description('those of one division or group').argument('<name>'),
    () => import('./commands/quotas-get.ts'),
  );
  define(
    quotas
      .command('apply')
      .description('set a budget from a file')
      .requiredOption('-f, --file <file>', 'kind: Budget', values.path),
    () => import('./commands/quotas-apply.ts'),
  );
  providerCommands(program, define);
  const budgets = listed(program, define, 'budgets', 'budget', 'what divisions may spend', '<division>');
  for (const command of budgets) command.option('--currency <currency>', 'needed where it has budgets in several');
  listed(program, define, 'priorities', 'priority class', 'priority classes');
  schedulingCommands(program, define);
}

/** There is one of it: no names, and nothing to list. */
function schedulingCommands(program: Command, define: Define): void {
  const command = program.command('scheduling').description('fair sharing and the guards of preemption: get, rm');
  define(command.command('get').description('what is declared; `merit apply` changes it'), async () => {
    const { schedulingGet } = await import('./nouns.ts');
    return { default: schedulingGet };
  });
  removed(define, command, 'scheduling', 'scheduling', undefined);
}

/** `rm` of a noun. */
function removed(define: Define, noun: Command, path: string, singular: string, argument: string | undefined): Command {
  const command = noun.command('rm').description(`remove a ${singular} that nothing rests on`);
  if (argument !== undefined) command.argument(argument);
  command
    .option('--if-version <version>', 'only if it is still at this version')
    .option('--dry-run', 'show what would be removed')
    .option('-y, --yes', 'do not ask');
  return define(command, async () => (await import('./commands/remove.ts')).removal(`/v1/${path}`, singular));
}

function poolStates(define: Define, pools: Command): void {
  for (const [verb, text] of [
    ['cordon', 'take no new work; what runs goes on'],
    ['uncordon', 'take work again'],
    ['drain', 'take no new work, and have what runs leave'],
  ] as const) {
    const command = pools
      .command(verb)
      .description(text)
      .argument('<name>')
      .option('--node <node>', 'one machine of it only', values.node)
      .option('--if-version <version>', 'only if the pool is still at this version');
    if (verb === 'drain') command.option('-y, --yes', 'do not ask');
    define(command, async () => (await import('./commands/pools-state.ts'))[verb]);
  }
}

/** A noun with ls, get and rm; `apply` changes it. Returns its `get` and its `rm`. */
function listed(
  program: Command,
  define: Define,
  plural: 'groups' | 'divisions' | 'budgets' | 'priorities',
  singular: string,
  description: string,
  argument = '<name>',
): readonly Command[] {
  const command = program.command(plural).description(`${description}: ls, get, rm`);
  const load = (verb: 'list' | 'get') => async (): Promise<CommandModule> => {
    const { nounCommand } = await import('./nouns.ts');
    return { default: (invocation: Invocation) => nounCommand(plural, verb, invocation) };
  };
  define(command.command('ls').description(`all ${plural}`), load('list'));
  return [
    define(command.command('get').description(`one ${singular}`).argument(argument), load('get')),
    removed(define, command, PATHS[plural] ?? plural, singular, argument),
  ];
}
