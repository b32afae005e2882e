import { type Command, Option } from 'commander';
import type { Define } from './program.ts';
import * as values from './values.ts';

export const JOB = ['<job>', 'id of a job, or the name of its newest one'] as const;

/** Jobs: booked, looked at, ended; and what is done with one that is there. */
export function jobCommands(program: Command, define: Define): void {
  define(
    program
      .command('submit')
      .description('book a job: plan, confirm, follow')
      .argument('[command...]', 'after --: what the job runs')
      .option('-f, --file <file>', 'job file (YAML or JSON); flags win over it', values.path)
      .option('-n, --name <name>', 'name of the job', values.name)
      .option('--division <division>', 'who pays (default: MERIT_DIVISION, else the only one)', values.slug)
      .option('--pool <pool>', 'pool to try; several in order', values.slugs)
      .option('--gpus <n>', 'whole GPUs a node, or of one type: H100:2', values.gpus)
      .option('--cpus <n>', 'whole CPUs', values.integer(1, 4096))
      .option('--memory <gib>', 'GiB of memory', values.integer(1, 65_536))
      .option('--lease <duration>', 'longest run time, such as 2h; its money is held', values.duration)
      .option('--model <model>', 'model that the job makes a version of', values.name)
      .option('--working-dir, --workdir <dir>', 'folder that the job finds its code in', values.path)
      .option('--env <name=value>', 'environment of the job; several', values.environment)
      .option('--max-cost <amount>', 'refuse to cost more than this', values.money)
      .option('--priority <n>', 'higher goes first; a number, or a class by name', values.priority)
      .option('--nodes <n>', 'nodes that start together', values.integer(1, 1024))
      .option('--min-nodes <n>', 'start with as few as this', values.integer(1, 1024))
      .option('--spot', 'spot flavours only (--no-spot: none)')
      .addOption(new Option('--no-spot').hideHelp())
      .option('--array <n[%m]>', 'n jobs, told apart by MERIT_ARRAY_INDEX; at most m at once', values.array)
      .option('--depends-on <jobs>', 'ids of jobs that must have ended well', values.list)
      .option('--off-peak', 'start only in an off-peak window of the pool')
      .option('--deadline <time>', 'expire if it has not started by then (RFC 3339)')
      .option('--user <name>', 'whose job it is within the division', values.name)
      .option('--max-restarts <n>', 'tries after a failure', values.integer(0, 100))
      .option('-y, --yes', 'do not ask')
      .option('-d, --detach', 'do not follow')
      .option('--wait', 'follow quietly to the end; exit 8 if the job failed')
      .option('--dry-run', 'show the plan only'),
    () => import('./commands/submit.ts'),
  );
  define(
    program
      .command('ps')
      .description('jobs that live')
      .option('-a, --all', 'ended ones too')
      .option('--division <division>', 'of one division', values.slug),
    () => import('./commands/ps.ts'),
  );
  define(
    program
      .command('plan')
      .description('what the planner would do with a scenario, offline')
      .requiredOption('-f, --file <file>', 'kind: Scenario (YAML or JSON), - for stdin', values.path)
      .option('--until-stable', 'cycles until nothing changes, preempted work leaving in between'),
    () => import('./commands/plan.ts'),
  );
  define(
    program
      .command('top')
      .description('what pools and divisions have, use and wait for')
      .option('--once', 'one look, on a terminal too'),
    () => import('./commands/top.ts'),
  );
  define(
    program
      .command('why')
      .description('why a job is where it is: every reason and its mend')
      .argument(...JOB),
    () => import('./commands/why.ts'),
  );
  define(
    program
      .command('logs')
      .description('the log of a job')
      .argument(...JOB)
      .option('-f, --follow', 'until it ends; exits as the job did')
      .option('--tail <n>', 'begin so many lines before its end', values.integer(1, 100_000))
      .option('--from-byte <n>', 'begin at this byte', values.integer(0, Number.MAX_SAFE_INTEGER))
      .option('--attempt <n>', 'of an earlier try', values.integer(1, 1_000_000)),
    () => import('./commands/logs.ts'),
    'plain',
  );
  define(
    program
      .command('cancel')
      .description('ask for the end of a job')
      .argument(...JOB)
      .option('-y, --yes', 'do not ask'),
    () => import('./commands/cancel.ts'),
  );
  const jobs = program
    .command('jobs')
    .description('jobs: ls, get, extend, retry, hold, release, events, artifacts, cost, metrics, verify');
  for (const [verb, text] of [
    ['hold', 'keep a waiting job back'],
    ['release', 'let a job that was held go on'],
  ] as const) {
    define(
      jobs
        .command(verb)
        .description(text)
        .argument(...JOB),
      async () => (await import('./commands/jobs-hold.ts'))[verb],
    );
  }
  define(
    jobs
      .command('extend')
      .description('more time for a job that runs, where policy and budget allow it (exit 7: they do not)')
      .argument(...JOB)
      .requiredOption('--by <duration>', 'how much longer than it is now, such as 2h', values.duration)
      .option('-d, --detach', 'do not wait for the answer'),
    () => import('./commands/jobs-extend.ts'),
  );
  define(
    jobs
      .command('retry')
      .description('book a job that has ended once more: the same file, the same code')
      .argument(...JOB)
      .option('--force', 'also where it ended well'),
    () => import('./commands/jobs-retry.ts'),
  );
  define(
    jobs
      .command('ls')
      .description('all jobs, newest first')
      .option('--state <state>', 'in one state')
      .option('--since <when>', 'booked since then: 2h, 7d, or a time (RFC 3339)', values.since)
      .option('--division <division>', 'of one division', values.slug)
      .option('--model <model>', 'for one model', values.name),
    () => import('./commands/jobs-ls.ts'),
  );
  define(
    jobs
      .command('get')
      .description('one job')
      .argument(...JOB),
    () => import('./commands/jobs-get.ts'),
  );
  define(
    jobs
      .command('events')
      .description('its audit events')
      .argument(...JOB),
    () => import('./commands/jobs-events.ts'),
  );
  define(
    jobs
      .command('artifacts')
      .description('the files it left')
      .argument(...JOB),
    () => import('./commands/jobs-artifacts.ts'),
  );
  define(
    jobs
      .command('cost')
      .description('what it held and cost')
      .argument(...JOB),
    () => import('./commands/jobs-cost.ts'),
  );
  define(
    jobs
      .command('metrics')
      .description('what it waited, ran, used and left, over time')
      .argument(...JOB),
    () => import('./commands/jobs-metrics.ts'),
  );
  define(
    jobs
      .command('verify')
      .description('read its stored files and logs again; exit 10 if a byte differs')
      .argument(...JOB),
    () => import('./commands/jobs-verify.ts'),
  );
}

/** What jobs left. */
export function artifactCommands(program: Command, define: Define): void {
  const artifacts = program.command('artifacts').description('what jobs left: ls, get, gc');
  define(
    artifacts
      .command('ls')
      .description('the files that a job left')
      .argument(...JOB),
    () => import('./commands/jobs-artifacts.ts'),
  );
  define(
    artifacts
      .command('get')
      .description('download them, each held to its SHA-256; a broken download goes on')
      .argument(...JOB)
      .argument('[path...]', 'some of them; all, where none is named')
      .option('--out <folder>', 'where they go', values.path),
    () => import('./commands/artifacts-get.ts'),
  );
  define(
    artifacts
      .command('gc')
      .description('delete stored objects of ended jobs that no manifest and no log names')
      .option('--dry-run', 'only tell')
      .option('--grace <time>', 'leave younger ones alone: 7d, at least 1h', values.duration),
    () => import('./commands/artifacts-gc.ts'),
  );
}
