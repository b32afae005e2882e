import type { Invocation } from '../invocation.ts';
import { run } from './score.ts';

export default function score({ options, signal }: Invocation): Promise<number> {
  return run(
    {
      suite: String(options.suite),
      reports: options.reports as readonly string[],
      at: String(options.at),
      output: String(options.output),
    },
    { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, signal },
  );
}
