import type { Invocation } from '../invocation.ts';
import { run } from './backtest.ts';

export default function backtest({ options, signal }: Invocation): Promise<number> {
  return run(
    {
      suite: String(options.suite),
      reports: options.reports as readonly string[],
      output: String(options.output),
      against: options.against as string | undefined,
      promotion: options.promotion as readonly string[] | undefined,
      incumbent: options.incumbent as string | undefined,
      from: options.from as string | undefined,
      to: options.to as string | undefined,
    },
    { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, signal },
  );
}
