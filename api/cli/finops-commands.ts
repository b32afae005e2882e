import type { Command } from 'commander';
import { Option } from 'commander';
import type { Define } from './program.ts';
import * as values from './values.ts';

const EXPORT_HELP = `
FOCUS 1.2 (focus.finops.org): a row for each attempt of a job and UTC day; the division is the sub account. An attempt is charged in the month in
which it was settled. The sums are held against the ledger's at the end: exit code 10 where they differ.`;

/** What was spent. */
export function finopsCommands(program: Command, define: Define): void {
  const finops = program.command('finops').description('what divisions spent: report, export');
  const month = '--month <month>';
  define(
    finops
      .command('report')
      .description('a month by division: what was completed, preempted, failed or stopped, and what runs still')
      .requiredOption(month, 'in UTC: 2026-11', values.month),
    () => import('./commands/finops-report.ts'),
  );
  define(
    finops
      .command('export')
      .description('every charge of a month as CSV')
      .requiredOption(month, 'in UTC: 2026-11', values.month)
      .addOption(new Option('--format <format>', 'of the rows').choices(['focus']).default('focus'))
      .option('--out <file>', 'where to; without it stdout')
      .addHelpText('after', EXPORT_HELP),
    () => import('./commands/finops-export.ts'),
  );
}
