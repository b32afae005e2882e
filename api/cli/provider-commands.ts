import type { Command } from 'commander';
import type { Define } from './program.ts';
import * as values from './values.ts';

/** What runs jobs: the kinds that are there, the kit that tries one, a package to begin with. */
export function providerCommands(program: Command, define: Define): void {
  const providers = program.command('providers').description('what runs jobs: ls, test, new');
  define(
    providers
      .command('ls')
      .description('kinds that are installed, and what each can do')
      .argument('[paths...]', 'packages that are not installed'),
    () => import('./commands/providers-ls.ts'),
  );
  define(
    providers
      .command('test')
      .description('try to break a provider: the conformance kit')
      .argument('<provider>', 'a kind, the path of a package, or the name of an installed one', values.path)
      .option(
        '--config <file>',
        'a real backend, whose jobs cost what they cost: its config, or a pool that has it',
        values.path,
      )
      .option('--proxy <field>', 'of the config, an http address: shows faults of a network before it', values.name)
      .option('--flavour <flavour>', 'of the pool, for the jobs (default: its first)', values.slug)
      .option('--only <checks>', 'names of checks, joined by commas; several', values.list)
      .option('--patience <duration>', 'longest wait for a state of a real backend (default: 2m)', values.duration)
      .option('--strict', 'exit 11 if a check could not be exercised')
      .addHelpText(
        'after',
        '\nExit 8 where a check failed. A check whose fault the test backend cannot show is told as not exercised.',
      ),
    () => import('./commands/providers-test.ts'),
  );
  define(
    providers
      .command('new')
      .description('write a package that passes the kit, to begin with')
      .argument('<name>', 'its kind; the folder is named like it', values.slug),
    () => import('./commands/providers-new.ts'),
  );
}
