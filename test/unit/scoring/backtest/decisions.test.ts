import { describe, expect, test } from 'vitest';
import { readEvalReport } from '../../../../core/eval-report.ts';
import { contribute, isContributionFault } from '../../../../scoring/rules/contribution.ts';
import { backtestOf, contestReports, contestSuite, randomLives } from '../../../support/backtest-cases.ts';
import { BacktestReference } from '../../../support/backtest-reference.ts';
import { bytesOf } from '../../../support/scoring-reports.ts';

describe('the decisions of a backtest', () => {
  test('are those of the rules, every number added up anew, over archives in which fortunes change at random', async () => {
    const kinds = new Set<string>();
    const archives = [contestReports(1), ...[11, 15].map((seed) => contestReports(seed, 200, randomLives(seed)))];
    for (const [archive, reports] of archives.entries()) {
      const reference = new BacktestReference(contestSuite);
      const seen = new Set<string>();
      for (const report of reports) {
        if (seen.has(report.reportId)) continue;
        seen.add(report.reportId);
        const reading = readEvalReport(bytesOf(JSON.stringify(report)));
        const contribution = reading.ok ? contribute(contestSuite, reading.report) : undefined;
        if (contribution === undefined || isContributionFault(contribution)) throw new Error('a good report');
        reference.take(contribution);
      }
      const { decisions } = await backtestOf(contestSuite, reports);
      const plain = decisions.map(({ review: _, ...decision }) => decision);
      expect({ archive, decisions: plain }).toEqual({ archive, decisions: reference.decisions });
      for (const { action, incumbentBefore, evidence } of plain) {
        kinds.add(
          'cause' in evidence ? evidence.cause : `${action} ${incumbentBefore === null ? 'of nobody' : 'over one'}`,
        );
      }
    }
    expect([...kinds].sort()).toEqual(['below', 'guardrail', 'promote of nobody', 'promote over one']);
  });
});
