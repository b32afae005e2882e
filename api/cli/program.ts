import { Command, Option } from 'commander';
import { auditCommands } from './audit-commands.ts';
import { quotaCommands } from './capacity-commands.ts';
import { finopsCommands } from './finops-commands.ts';
import type { CommandModule, Invocation } from './invocation.ts';
import { artifactCommands, JOB, jobCommands } from './job-commands.ts';
import { quarantineCommands } from './quarantine-commands.ts';
import { replayCommands } from './replay-commands.ts';
import { share } from './share.ts';
import { signingCommands } from './signing-commands.ts';
import * as values from './values.ts';

/** The commands with their flags. Each one's module is imported only when it runs: `merit ps` never pays for Postgres. */

export type Run = (
  load: () => Promise<CommandModule>,
  args: readonly string[],
  options: Readonly<Record<string, unknown>>,
) => Promise<void>;

const ARCHIVE_OPTION =
  'read what a server archived, in place of --reports: its object store, a folder or s3://bucket/prefix';
const BACKTEST_ASSUMES = `
An archive of reports does not tell everything. Assumed is: policy allows; a model stands for the seat from its first
report on, and never retires; reports came in the order in which they stand, as in one partition of the log; their
clocks were right. Late ones count for 7 days of event time, as on a server.`;

/** `merit` with all its commands; `run` gets what was asked for. */
export function buildProgram(version: string, run: Run): Command {
  const program = new Command('merit');
  program
    .description(
      'Scores models from their evaluation reports, promotes the ones that earn it,\nand books the GPU capacity that retraining takes.',
    )
    .version(version)
    .helpCommand('help [command]', 'help for a command')
    .showSuggestionAfterError(true)
    .enablePositionalOptions();
  const define = definer(run);
  serverCommands(program, define);
  jobCommands(program, define);
  artifactCommands(program, define);
  scoringCommands(program, define);
  capacityCommands(program, define);
  proofCommands(program, define);
  signingCommands(program, define);
  otherCommands(program, define);
  return program;
}

export type Define = (command: Command, load: () => Promise<CommandModule>, kind?: 'data' | 'plain') => Command;

/** Binds a command to its module; `data` gives it -o. */
function definer(run: Run): Define {
  return (command, load, kind = 'data') => {
    if (kind === 'data')
      command.option('-o, --output <format>', 'table, wide, json, yaml or name', values.format, 'table');
    return command.action(async (...given: unknown[]) => {
      const positional = given
        .slice(0, -2)
        .flat()
        .filter((arg): arg is string => typeof arg === 'string');
      await run(load, positional, command.opts());
    });
  };
}

function serverCommands(program: Command, define: Define): void {
  define(
    program
      .command('start')
      .description('start the server on its embedded defaults, on loopback')
      .option('--loop', 'run the example loop: drift, demotion, retrain, promotion')
      .option('--exit', 'end after the loop')
      .option('--again', 'run the loop anew where it is finished')
      .option('--port <n>', 'port to listen on; 0: any free one', values.integer(0, 65_535))
      .option('--state-dir <dir>', 'where its state lives (default: MERIT_HOME, else .merit)', values.path)
      .option(
        '--restart-witness <why>',
        'go on though the audit trail is shorter than its witness: after a restore',
        values.reason,
      ),
    () => import('./commands/start.ts'),
    'plain',
  );
  define(
    program.command('doctor').description('name each part that is there or missing, and the mend'),
    () => import('./commands/doctor.ts'),
  );
  define(
    program.command('migrate').description('bring the database to this version (MIGRATE_DATABASE_URL)'),
    () => import('./commands/migrate.ts'),
    'plain',
  );
  define(
    program.command('restore-log').description('put reports back from the archive behind a restored database'),
    () => import('./commands/restore-log.ts'),
    'plain',
  );
}

/** How what a command cuts into shards is booked (booked-shards.ts). `what`: what the jobs read. */
function jobFlags(what: string, command: Command): Command {
  return command
    .addOption(
      new Option('--files <how>', `how the jobs get the ${what} (default: by the pools, see docs/scoring.md)`).choices([
        'sent',
        'shared',
      ]),
    )
    .option('--cpus <n>', 'of each job', values.integer(1, 1024), 1)
    .option('--lease <duration>', 'of each job', values.duration, '1h')
    .option('--division <division>', 'who pays', values.slug);
}

function scoringCommands(program: Command, define: Define): void {
  define(
    program
      .command('score')
      .description('score report files offline, without a server')
      .requiredOption('--suite <file>', 'the suite', values.path)
      .option('--reports <file>', 'NDJSON of reports, - for stdin; several', values.paths)
      .addOption(new Option('--archive <place>', ARCHIVE_OPTION).conflicts('reports'))
      .option('--tenant <tenant>', 'whose reports of the archive, where it has several')
      .requiredOption('--at <time>', 'the instant to score at, such as 2026-11-23T10:00:00Z'),
    () => import('./commands/score-run.ts'),
  );
  define(
    jobFlags(
      'reports',
      program
        .command('backtest')
        .description('what a suite would have decided about an archive of reports')
        .requiredOption('--suite <file>', 'the suite', values.path)
        .option('--reports <file>', 'NDJSON of reports in the order they came, - for stdin; several', values.paths)
        .option('--reports-list <file>', 'a file that names them, one path a line', values.path)
        .addOption(new Option('--archive <place>', ARCHIVE_OPTION).conflicts(['reports', 'reportsList']))
        .option('--tenant <tenant>', 'whose reports of the archive, where it has several')
        .option('--suite-b, --against <file>', 'another suite: show where it would have decided otherwise', values.path)
        .option('--promotion <members>', 'the same with other rules: promoteAbove=0.85,cooldown=12h', values.list)
        .option('--incumbent <model>', 'who has the seat at the start (default: nobody)', values.name)
        .option('--from <time>', 'pass over reports observed before it')
        .option('--to <time>', 'decide no tick behind it')
        .option('--shard <i/n>', 'only read this shard of the reports, from 0/n on, into a file')
        .option('--into <file>', 'the file', values.path)
        .option('--readings <file>', 'judge the files of all shards in place of reports; several', values.paths)
        .option('--on <pools>', 'have the shards read as jobs: pools, or a kind of provider such as ray', values.slugs)
        .option('--shards <n>', 'how many jobs', values.integer(1, 1000), 4)
        .addHelpText('after', BACKTEST_ASSUMES),
    ),
    () => import('./commands/backtest-run.ts'),
  );
  define(
    jobFlags(
      'archive',
      program
        .command('recompute')
        .description('have jobs count the past for a suite’s new version')
        .argument('[suite]', 'the suite, whose rollout runs')
        .option('--on <pools>', 'pools, or a kind of provider such as ray', values.slugs)
        .requiredOption('--archive <place>', 'where the server keeps its objects, a folder or s3://bucket/prefix')
        .option('--shards <n>', 'how many jobs for each partition of the log', values.integer(1, 360), 4)
        .option('--hold <duration>', 'keep recompute workers away from it for so long', values.duration, '6h')
        .option('--handed <file>', 'as a job: what was handed over', values.path)
        .option('--shard <i/n>', 'as a job: which share, from 0/n on')
        .option('--into <file>', 'as a job: the file for its panes', values.path),
    ),
    () => import('./commands/recompute.ts'),
  );
  define(
    program
      .command('scores')
      .description('the last scores of a model, why, and how they came')
      .argument('<model>')
      .option('--suite <suite>', 'in one suite', values.name)
      .option('--explain', 'take one apart: contributions that add up to it')
      .option('--at <time>', 'explain the last tick at or before it')
      .option('--history', 'all that was published in the suite, newest first')
      .option('--limit <n>', 'of the history, at most so many', values.integer(1, 10_000)),
    () => import('./commands/scores.ts'),
  );
  define(
    program
      .command('leaderboard')
      .description('models of a suite in rank order')
      .argument('<suite>')
      .option('--at <time>', 'at the last tick at or before it'),
    () => import('./commands/leaderboard.ts'),
  );
  suiteCommands(program, define);
  const models = noun(program, define, 'models', 'model', 'models, with their aliases', ['retrain']).command;
  define(
    models.command('retrain').description('ask for a retrain of a model now').argument('<name>'),
    () => import('./commands/models-retrain.ts'),
  );
  define(
    program
      .command('retrains')
      .description('retrains: ls')
      .command('ls')
      .description('retrains asked for, newest first: why, what became of them, how long they waited')
      .option('--model <model>', 'of one model', values.name),
    () => import('./commands/retrains-ls.ts'),
  );
  define(
    program
      .command('reports')
      .description('reports: send')
      .command('send')
      .description('hand report files to the server; what it knows already counts as duplicates')
      .requiredOption('--reports <file>', 'NDJSON of reports, - for stdin; several', values.paths),
    () => import('./commands/reports-send.ts'),
  );
  quarantineCommands(program, define);
  replayCommands(program, define);
  finopsCommands(program, define);
  const promotions = program.command('promotions').description('decisions: ls, get');
  define(
    promotions
      .command('ls')
      .description('decisions, newest first')
      .option('--suite <suite>', 'in one suite', values.name)
      .option('--model <model>', 'about one model', values.name),
    () => import('./commands/promotions-ls.ts'),
  );
  define(
    promotions.command('get').description('one decision with its evidence').argument('<id>'),
    () => import('./commands/promotions-get.ts'),
  );
}

/** Besides ls, get and apply: a new version beside the active one. */
function suiteCommands(program: Command, define: Define): void {
  const { command, apply } = noun(
    program,
    define,
    'suites',
    'suite',
    'rules that models are scored by',
    ['rollout', 'diff'],
    () => import('./commands/suites-apply.ts'),
  );
  apply
    .addOption(new Option('--shadow', 'beside the active version: scored, deciding nothing').conflicts('canary'))
    .option('--canary <percent>', 'beside it, deciding for a share of the models', share)
    .option('--force', 'let the share hold before its windows are full');
  define(
    command
      .command('rollout')
      .description('the version beside the active one: show it, change its share, end it')
      .argument('<suite>')
      .addOption(new Option('--promote', 'make it the active one').conflicts(['rollback', 'canary', 'shadow']))
      .addOption(new Option('--rollback', 'drop it').conflicts(['canary', 'shadow', 'force', 'ifVersion']))
      .addOption(
        new Option('--canary <percent>', 'let it decide for a share of the models')
          .argParser(share)
          .conflicts('shadow'),
      )
      .option('--shadow', 'let it decide nothing')
      .option('--force', 'let it though its windows are not full yet')
      .option('--if-version <version>', 'change its share only if it is still at this version'),
    () => import('./commands/suites-rollout.ts'),
  );
  define(
    command
      .command('diff')
      .description('both versions side by side: scores, ranks and decisions that differ')
      .argument('<suite>'),
    () => import('./commands/suites-diff.ts'),
  );
}

function capacityCommands(program: Command, define: Define): void {
  const states = ['capacity', 'cordon', 'uncordon', 'drain', 'import'];
  const { command } = noun(program, define, 'pools', 'pool', 'capacity and prices', states);
  quotaCommands(program, define, command);
}

function proofCommands(program: Command, define: Define): void {
  define(
    program
      .command('receipt')
      .description('one file that proves a job, for a stranger to check')
      .argument(...JOB)
      .requiredOption('--out <file>', 'where to write it', values.path),
    () => import('./commands/receipt.ts'),
    'plain',
  );
  auditCommands(program, define);
}

function otherCommands(program: Command, define: Define): void {
  define(
    program
      .command('events')
      .description('what happens, as it happens: ticks, decisions, reviews, jobs')
      .option('--suite <suite>', 'of one suite', values.name)
      .option('--type <type>', 'types or their beginnings, joined by commas: score.tick,decision')
      .option('--after <id>', 'go on behind this event (its id in -o json)')
      .option('--count <n>', 'end after so many', values.integer(1, 1_000_000_000)),
    () => import('./commands/events.ts'),
  );
  define(
    program
      .command('api')
      .description('call the HTTP API: merit api GET /v1/jobs')
      .argument('<method>')
      .argument('<path>')
      .option('-f, --file <file>', 'body (YAML or JSON)', values.path)
      .option('--idempotency-key <key>', 'key of a POST, to repeat it safely'),
    () => import('./commands/api.ts'),
    'plain',
  );
  define(
    program.command('completion').description('completion for a shell').argument('<shell>', 'bash, zsh or fish'),
    () => import('./commands/completion.ts'),
    'plain',
  );
}

/** A noun with ls, get and apply, which look alike for all. */
function noun(
  program: Command,
  define: Define,
  plural: 'suites' | 'models' | 'pools',
  singular: string,
  description: string,
  more: readonly string[] = [],
  loadApply?: () => Promise<CommandModule>,
): { readonly command: Command; readonly apply: Command } {
  const verbs = ['ls', 'get', 'apply', ...more].join(', ');
  const command = program.command(plural).description(`${description}: ${verbs}`);
  const load = (verb: 'list' | 'get' | 'apply') => async (): Promise<CommandModule> => {
    const { nounCommand } = await import('./nouns.ts');
    return { default: (invocation: Invocation) => nounCommand(plural, verb, invocation) };
  };
  define(command.command('ls').description(`all ${plural}`), load('list'));
  define(command.command('get').description(`one ${singular}`).argument('<name>'), load('get'));
  const apply = define(
    command
      .command('apply')
      .description(`make or change a ${singular} from a file`)
      .requiredOption('-f, --file <file>', `the ${singular}, YAML or JSON`, values.path)
      .option('--if-version <version>', 'only if it is still at this version'),
    loadApply ?? load('apply'),
  );
  return { command, apply };
}

/** Every long flag of a command, for completion. */
export function flagsOf(command: Command): readonly string[] {
  return [...command.options.map((option: Option) => option.long ?? option.short ?? ''), '--help'].filter(
    (flag) => flag !== '',
  );
}
