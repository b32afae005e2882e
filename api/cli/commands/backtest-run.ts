import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withArchivedReports } from '../archive-reports.ts';
import type { Invocation } from '../invocation.ts';
import { readReportsList } from '../report-files.ts';
import { type BacktestOptions, run } from './backtest.ts';

export default function backtest(invocation: Invocation): Promise<number> {
  if (invocation.options.archive === undefined) return backtestOf(invocation, []);
  return withArchivedReports(invocation, (reports) => backtestOf(invocation, reports));
}

async function backtestOf(invocation: Invocation, archived: readonly string[]): Promise<number> {
  const { options, signal } = invocation;
  const io = { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, signal };
  const listed = options.reportsList === undefined ? [] : await readReportsList(String(options.reportsList));
  const given: BacktestOptions = {
    suite: String(options.suite),
    reports: [...archived, ...((options.reports as readonly string[] | undefined) ?? []), ...listed],
    output: String(options.output),
    against: options.against as string | undefined,
    promotion: options.promotion as readonly string[] | undefined,
    incumbent: options.incumbent as string | undefined,
    from: options.from as string | undefined,
    to: options.to as string | undefined,
    shard: options.shard as string | undefined,
    into: options.into as string | undefined,
    readings: options.readings as readonly string[] | undefined,
  };
  if (options.on === undefined) return run(given, io);
  const folder = await mkdtemp(join(tmpdir(), 'merit-readings-'));
  try {
    const { jobsAsked } = await import('../booked-shards.ts');
    const { readShardsOn } = await import('../backtest-on.ts');
    const asked = { ...jobsAsked(options), reports: given.reports };
    return await run({ ...given, elsewhere: (inputs) => readShardsOn(invocation, inputs, asked, folder) }, io);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
