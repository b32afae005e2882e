import { withArchivedReports } from '../archive-reports.ts';
import type { Invocation } from '../invocation.ts';
import { run } from './score.ts';

export default function score(invocation: Invocation): Promise<number> {
  const { options, signal } = invocation;
  const scored = (reports: readonly string[]) =>
    run(
      { suite: String(options.suite), reports, at: String(options.at), output: String(options.output) },
      { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, signal },
    );
  if (options.archive !== undefined) return withArchivedReports(invocation, scored);
  return scored((options.reports as readonly string[] | undefined) ?? []);
}
