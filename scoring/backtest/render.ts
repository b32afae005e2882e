import { decimal, tableLines } from '../offline/text-table.ts';
import type { Backtest, BacktestSide } from './backtest-stream.ts';
import type { Difference, Standing } from './compare.ts';
import type { BacktestDecision } from './decision-list.ts';

/** The result as JSON text in pieces, one decision and one difference a line: one object, heads before lists. */
export function* backtestJson(backtest: Backtest): Generator<string> {
  const { decisions, against, diff, ...head } = backtest;
  yield `${JSON.stringify(head).slice(0, -1)},`;
  yield* jsonList('decisions', decisions);
  if (against !== undefined) {
    const { decisions: others, ...otherHead } = against;
    yield `,\n"against":${JSON.stringify(otherHead).slice(0, -1)},`;
    yield* jsonList('decisions', others);
    yield '}';
  }
  yield ',\n';
  yield* jsonList('diff', diff);
  yield '}\n';
}

function* jsonList(name: string, list: readonly object[]): Generator<string> {
  yield `"${name}":[`;
  let separator = '\n';
  for (const one of list) {
    yield separator + JSON.stringify(one);
    separator = ',\n';
  }
  yield list.length === 0 ? ']' : '\n]';
}

/** Tables for people; `wide` adds what a decision rests on. */
export function* backtestTable(backtest: Backtest, wide: boolean): Generator<string> {
  yield* sideTable(backtest, wide);
  if (backtest.against === undefined) return;
  yield '\nagainst\n\n';
  yield* sideTable(backtest.against, wide);
  yield '\ndifferences\n\n';
  if (backtest.diff.length === 0) yield 'none\n';
  else yield* tableLines([['TICK', 'WHAT', 'MODEL', 'A', 'B'], ...backtest.diff.map(differenceRow)]);
}

function* sideTable(side: BacktestSide, wide: boolean): Generator<string> {
  const head = ['TICK', 'ACTION', 'MODEL', 'BEFORE', 'COMPOSITE', 'RUN'];
  const rows = side.decisions.map((decision) => decisionRow(decision, wide));
  yield* tableLines([[...head, ...(wide ? ['WHY', 'LATER'] : [])], ...rows]);
  const { accepted, quarantined, duplicates, conflicts, replayed, late, lateArchived, outside, ticks } = side;
  yield `\n${side.suite} to ${side.lastTick ?? 'no tick at all'}: ${ticks} ticks with scores, in the seat ${side.incumbent ?? 'nobody'}\n`;
  yield `${accepted} accepted, ${quarantined} quarantined, ${duplicates} duplicates, ${conflicts} conflicts\n`;
  yield `${replayed} replayed, ${late} of them late, ${lateArchived} too late, ${outside} outside\n`;
  yield `assumed: policy allows, candidates from their first report, nobody retires\n`;
  yield `inputs ${side.inputDigest}\nscores ${side.checksum}\n`;
}

function decisionRow(decision: BacktestDecision, wide: boolean): string[] {
  const { tick, action, model, incumbentBefore, evidence, review } = decision;
  const cells = [tick, action, model, incumbentBefore ?? '-', decimal(evidence.composite), String(evidence.run)];
  if (!wide) return cells;
  const why =
    'cause' in evidence
      ? evidence.cause
      : evidence.metrics.map(({ metric, d }) => `${metric} +${decimal(d)}`).join(' ');
  return [...cells, why, review === undefined ? '-' : `${review.length} flipped`];
}

function differenceRow(difference: Difference): string[] {
  switch (difference.kind) {
    case 'only_a':
      return [difference.tick, `${difference.action} in A only`, difference.model, 'yes', '-'];
    case 'only_b':
      return [difference.tick, `${difference.action} in B only`, difference.model, '-', 'yes'];
    case 'other_model':
      return [difference.tick, `${difference.action} of another model`, '-', difference.a, difference.b];
    case 'other_tick': {
      const first = difference.a < difference.b ? difference.a : difference.b;
      return [first, `${difference.action} at another tick`, difference.model, difference.a, difference.b];
    }
    case 'score':
      return [difference.tick, 'score', difference.model, standingText(difference.a), standingText(difference.b)];
  }
}

function standingText(standing: Standing | null): string {
  if (standing === null) return '-';
  const { rank, composite, status } = standing;
  return composite === null ? status : `${decimal(composite)} (${rank ?? '-'})`;
}
