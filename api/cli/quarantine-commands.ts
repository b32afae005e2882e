import type { Command } from 'commander';
import { MAX_REDRIVEN } from '../../scoring/ingest/quarantine-place.ts';
import type { Define } from './program.ts';
import * as values from './values.ts';

const MAX_PARTITION = 1_000_000;

const REDRIVE_HELP = `
What is appended is read like any line that is sent now: it counts, or is found to be a duplicate, or is set aside again
at a place of its own; merit quarantine show <id> tells which, and where. A line is appended at most once, however often
that is asked. What no second reading mends is never appended (too_large, conflict, producer_mismatch, tombstone, empty,
and what is older than ingest.quarantineRetention): whoever sent it has to send it anew.`;

/** Report lines that were set aside. */
export function quarantineCommands(program: Command, define: Define): void {
  const quarantine = program.command('quarantine').description('report lines that were set aside: ls, show, redrive');
  define(
    filtered(quarantine.command('ls').description('why each was set aside, newest first')).option(
      '-a, --all',
      'those that were sent again too',
    ),
    () => import('./commands/quarantine-ls.ts'),
  );
  define(
    quarantine
      .command('show')
      .description('one of them, with its bytes')
      .argument('<id>')
      .option('--raw', 'only its bytes, as they came'),
    () => import('./commands/quarantine-show.ts'),
  );
  define(
    filtered(
      quarantine
        .command('redrive')
        .description('append lines to the log once more, when what stood against them is mended')
        .argument('[id...]', 'some of them; else those that the flags find, the oldest first'),
    )
      .option('--limit <n>', 'at most so many', values.integer(1, MAX_REDRIVEN))
      .option('--dry-run', 'only tell how many')
      .option('-y, --yes', 'do not ask')
      .addHelpText('after', REDRIVE_HELP),
    () => import('./commands/quarantine-redrive.ts'),
  );
}

function filtered(command: Command): Command {
  return command
    .option('--reason <code>', 'set aside for this reason, such as unknown_version', values.name)
    .option('--suite <suite>', 'that name this suite', values.name)
    .option('--producer <producer>', 'that name this producer', values.name)
    .option('--since <when>', 'set aside since then: 2h, 7d, or a time (RFC 3339)', values.since)
    .option('--partition <n>', 'of one partition of the log', values.integer(0, MAX_PARTITION));
}

/** What the flags of `filtered` say. */
export function filterIn(options: Readonly<Record<string, unknown>>): Readonly<Record<string, string | number>> {
  return Object.fromEntries(
    ['reason', 'suite', 'producer', 'since', 'partition'].flatMap((name) => {
      const value = options[name];
      return typeof value === 'string' || typeof value === 'number' ? [[name, value]] : [];
    }),
  );
}
