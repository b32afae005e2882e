import { Readable } from 'node:stream';
import { toldAs } from '../../api/cli/exit.ts';
import type { Io } from '../../api/cli/io.ts';
import { buildProgram } from '../../api/cli/program.ts';

export interface CliEnded {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** A command of `merit` in this process, without a terminal; what commander itself refuses is thrown. */
export async function runCli(home: string, args: readonly string[]): Promise<CliEnded> {
  let out = '';
  let err = '';
  let code = 0;
  const note = (line: string) => {
    err += `${line}\n`;
  };
  const io: Io = {
    env: { MERIT_HOME: home },
    cwd: home,
    stdin: Readable.from([]),
    stdinIsTerminal: false,
    stdoutIsTerminal: false,
    stderrIsTerminal: false,
    out: async (data) => {
      out += Buffer.from(data).toString();
    },
    note,
    progress: () => {},
    confirm: async () => false,
  };
  const program = buildProgram('0.0.0-test', async (load, given, options) => {
    const { default: command } = await load();
    code = await command({ args: given, options, io, signal: new AbortController().signal });
  });
  try {
    await program.parseAsync(['node', 'merit', ...args]);
  } catch (error) {
    const told = toldAs(error);
    code = told.exitCode;
    note(`${told.problem} ${told.mend ?? ''}`);
  }
  return { code, out, err };
}
