import type { Command } from 'commander';
import type { Define } from './program.ts';
import * as values from './values.ts';

const REPLAY = ['<replay>', 'id of a replay'] as const;

const START_HELP = `
Reports are read again from the archive, or from the log, by the same code as live ones, into tables of the replay's own.
Nothing live changes: no score, no seat, no retrain, no event but the one that says who asked. It goes on in the server when
this command ends; asked for again in the same words it is followed, or taken up where it failed. Without --from it begins
where the log began, and replays contests too; behind that only scores, from where their windows are whole.`;

/** Reports read again, and held against what was live. */
export function replayCommands(program: Command, define: Define): void {
  const replay = program.command('replay').description('reports read again: start, status, diff, verify, cancel');
  define(
    replay
      .command('start')
      .description('start a replay and follow it')
      .requiredOption('--into <where>', 'shadow: tables of its own', values.shadow)
      .option('--from <time|offset>', 'compare from this tick on, or read from this offset')
      .option('--to <time|offset>', 'up to this tick, or offset')
      .option('--suite <file>', 'another suite, or its rule of promotion, in place of what was live', values.path)
      .option('--source <source>', 'archive or log: where to read what is in both', values.source)
      .option('--rate <n>', 'reports a second at most', values.integer(1, 10_000_000))
      .option('-d, --detach', 'do not follow')
      .addHelpText('after', START_HELP),
    () => import('./commands/replay-start.ts'),
  );
  define(
    replay
      .command('status')
      .description('how far one is; all of them, where none is named')
      .argument('[replay]', REPLAY[1]),
    () => import('./commands/replay-status.ts'),
  );
  define(
    replay
      .command('diff')
      .description('scores, ranks and decisions that differ from what was live, and why')
      .argument(...REPLAY),
    () => import('./commands/replay-diff.ts'),
  );
  define(
    replay
      .command('verify')
      .description(
        'exit 0 if scores, decisions and reports are those that were live; 10: what differs first, or what was altered',
      )
      .argument(...REPLAY),
    () => import('./commands/replay-verify.ts'),
  );
  define(
    replay
      .command('cancel')
      .description('end one and drop its tables')
      .argument(...REPLAY),
    () => import('./commands/replay-cancel.ts'),
  );
}
