import { createInterface } from 'node:readline/promises';
import type { Readable, Writable } from 'node:stream';
import { CliError, EXIT } from './exit.ts';
import { plainText } from './text.ts';

/** Data goes to stdout and nothing else does; what is told to a person goes to stderr. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly stdin: Readable;
  readonly stdinIsTerminal: boolean;
  readonly stdoutIsTerminal: boolean;
  readonly stderrIsTerminal: boolean;
  /** Writes data and waits until it is handed over. Throws CliError where it could not be written. */
  out(data: string | Uint8Array): Promise<void>;
  /** One line on stderr, escape sequences taken out. */
  note(line: string): void;
  /** As note, but only where somebody watches. */
  progress(line: string): void;
  /** Asks on the terminal; false without one. */
  confirm(question: string, signal: AbortSignal): Promise<boolean>;
}

/** The reader of our output went away: nothing is wrong, there is nobody left to tell. */
export class OutputClosed extends Error {
  override name = 'OutputClosed';
}

function writeAll(stream: Writable, data: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(data, (error) => {
      if (error === null || error === undefined) resolve();
      else if ((error as NodeJS.ErrnoException).code === 'EPIPE') reject(new OutputClosed());
      else
        reject(
          new CliError(
            EXIT.internal,
            'output',
            `the output could not be written (${(error as NodeJS.ErrnoException).code ?? error.message})`,
            { mend: 'check the disk, or write elsewhere' },
          ),
        );
    });
  });
}

export function processIo(): Io {
  // The callback of each write tells of its failure; without a listener the same failure would end the process as uncaught.
  process.stdout.on('error', () => {});
  process.stderr.on('error', () => {});
  const note = (line: string) => void process.stderr.write(`${plainText(line)}\n`);
  return {
    env: process.env,
    cwd: process.cwd(),
    stdin: process.stdin,
    stdinIsTerminal: process.stdin.isTTY === true,
    stdoutIsTerminal: process.stdout.isTTY === true,
    stderrIsTerminal: process.stderr.isTTY === true,
    out: (data) => writeAll(process.stdout, data),
    note,
    progress: (line) => {
      if (process.stderr.isTTY === true) note(line);
    },
    confirm: async (question, signal) => {
      if (process.stdin.isTTY !== true || process.stderr.isTTY !== true) return false;
      const prompt = createInterface({ input: process.stdin, output: process.stderr });
      try {
        return /^y(es)?$/i.test((await prompt.question(`${question} [y/N] `, { signal })).trim());
      } finally {
        prompt.close();
      }
    },
  };
}
