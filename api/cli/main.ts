import { type Command, CommanderError } from 'commander';
import { CliError, EXIT, type Told, toldAs } from './exit.ts';
import type { CommandModule } from './invocation.ts';
import { OutputClosed, processIo } from './io.ts';
import { buildProgram } from './program.ts';
import { plainText, safeJson } from './text.ts';
import { packageVersion } from './version.ts';

/** The `merit` command under Node 24; bin/merit.mjs starts it. */

const io = processIo();
const stop = new AbortController();
let interrupted = false;

/** A terminal and the launcher may both pass one Ctrl-C on: what follows this closely is the same. */
const SAME_INTERRUPT_MS = 1_000;
let askedAtMs = 0;

function onSignal(signal: 'SIGINT' | 'SIGTERM'): void {
  // The first asks; a second one means it.
  if (stop.signal.aborted && signal === 'SIGINT' && performance.now() - askedAtMs > SAME_INTERRUPT_MS) {
    process.exit(EXIT.interrupted);
  }
  if (stop.signal.aborted) return;
  askedAtMs = performance.now();
  interrupted = signal === 'SIGINT';
  stop.abort();
}
process.on('SIGINT', onSignal);
process.on('SIGTERM', onSignal);

let exitCode = 0;

async function runCommand(
  load: () => Promise<CommandModule>,
  args: readonly string[],
  options: Readonly<Record<string, unknown>>,
): Promise<void> {
  const { default: command } = await load();
  exitCode = await command({ args, options, io, signal: stop.signal });
}

/** Commander throws instead of ending the process and says nothing itself: errors are told below, all in one way. */
function tame(command: Command): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => void process.stdout.write(text),
    writeErr: () => {},
    outputError: () => {},
  });
  for (const sub of command.commands) tame(sub);
}

/** What commander found wrong with the words of the command line: 2, or 3 where a value is bad. */
function usageError(error: CommanderError, program: Command): Told | undefined {
  if (error.exitCode === 0) return undefined;
  if (error.code === 'commander.help')
    return {
      exitCode: EXIT.usage,
      code: 'usage',
      problem: 'which one of these?',
      mend: `\n${helpFor(program)}`,
      traceId: undefined,
    };
  const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  const suggestion = /Did you mean (.*)\?/.exec(rest.join(' '))?.[1];
  return {
    exitCode: error.code === 'commander.invalidArgument' ? EXIT.badValue : EXIT.usage,
    code: error.code === 'commander.invalidArgument' ? 'bad_value' : 'usage',
    problem: valueProblem(error.message) ?? first,
    mend:
      suggestion === undefined
        ? 'merit help shows every command, merit COMMAND --help its flags'
        : `did you mean ${suggestion.replace(/^one of /, '')}?`,
    traceId: undefined,
  };
}

/** A bad value as `--pool <pool>: "a\\nb": must be …`: commander's own words would repeat it with its control characters. */
function valueProblem(message: string): string | undefined {
  const match = /^error: (?:option|command-argument value) '([^']*)'.* is invalid\. (".*)$/s.exec(message);
  return match === null ? undefined : `${match[1]}: ${match[2]}`;
}

/** The help of the noun that was named without a verb. */
function helpFor(program: Command): string {
  const noun = program.commands.find((command) => command.name() === process.argv[2]);
  return (noun ?? program).helpInformation();
}

function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  const flags = end < 0 ? argv : argv.slice(0, end);
  return flags.some(
    (flag, i) =>
      flag === '--output=json' ||
      flag === '-ojson' ||
      ((flag === '-o' || flag === '--output') && flags[i + 1] === 'json'),
  );
}

function tell(told: Told): void {
  if (wantsJson(process.argv.slice(2))) {
    const { exitCode: code, ...rest } = told;
    process.stderr.write(`${safeJson({ error: { ...rest, exitCode: code } })}\n`);
    return;
  }
  process.stderr.write(plainText(`merit: ${told.problem}\n`));
  if (told.mend !== undefined) process.stderr.write(plainText(`  mend: ${told.mend}\n`));
  if (told.traceId !== undefined) process.stderr.write(`  trace: ${told.traceId}\n`);
}

async function main(): Promise<number> {
  const program = buildProgram(packageVersion(), runCommand);
  tame(program);
  try {
    await program.parseAsync(process.argv);
    await io.out('');
    return exitCode;
  } catch (error) {
    if (error instanceof OutputClosed) return EXIT.ok;
    if (error instanceof CommanderError) {
      const told = usageError(error, program);
      if (told === undefined) return EXIT.ok;
      tell(told);
      return told.exitCode;
    }
    if (stop.signal.aborted && !(error instanceof CliError)) return interrupted ? EXIT.interrupted : 143;
    if (process.env.MERIT_DEBUG === '1') console.error(error);
    const told = toldAs(error);
    tell(told);
    return told.exitCode;
  }
}

// Set, not called: what is still being written is written first.
process.exitCode = await main();
