import { facts, type Row, table } from './render.ts';
import { score } from './shapes.ts';

/** A score taken apart, for a person: what it is made of, then a line a window and metric. */
export function explanationText(answer: Row): string {
  const windows = rowsIn(answer.windows);
  return [
    facts([
      ['model', answer.model],
      ['suite', answer.suite],
      ['at', answer.at],
      ['composite', `${intervalText(answer)}${answer.rank === null ? '' : `, rank ${String(answer.rank)}`}`],
      ['made of', madeOf(answer)],
      ['missing', listText(answer.missing)],
      ['revision', answer.revision],
    ]),
    '\n',
    table(
      [
        { head: 'WINDOW', cell: (row) => row.window },
        { head: 'METRIC', cell: (row) => row.metric },
        { head: 'N', cell: (row) => row.n },
        { head: 'SHARE', cell: (row) => percent(row.share) },
        { head: 'STATISTIC', cell: (row) => number(row.statistic) },
        { head: 'INTERVAL', cell: (row) => unitInterval(row.interval) },
        { head: 'MAPPED', cell: (row) => score(row.mapped) },
        { head: 'SHRUNK BY', cell: (row) => signed(member(row.shrinkage, 'effect')) },
        { head: 'SCORE', cell: (row) => score(row.score) },
        { head: 'LOWER', cell: (row) => score(row.lower) },
        { head: 'UPPER', cell: (row) => score(row.upper) },
        { head: 'ADDS', cell: (row) => score(row.contribution) },
        { head: 'OF PRIOR', cell: (row) => score(row.fromPrior) },
        { head: 'WHY NOT', cell: (row) => whyNot(row) },
      ],
      windows.flatMap((window) => [
        { ...window, metric: 'all' },
        ...rowsIn(window.metrics).map((metric) => ({ ...metric, window: window.window })),
      ]),
    ),
  ].join('');
}

function madeOf(answer: Row): string {
  if (answer.composite === null) return `nothing: ${String(answer.status)}`;
  return `${text(answer.fromData)} from reports + ${text(answer.fromPrior)} from the prior`;
}

function intervalText({ composite, lower, upper }: Row): string {
  return composite === null ? 'none' : `${text(composite)} (95 %: ${text(lower)} to ${text(upper)})`;
}

function unitInterval(interval: unknown): string {
  const [low, high] = [member(interval, 'low'), member(interval, 'high')];
  return low === undefined ? '' : `${number(low)} to ${number(high)}`;
}

function whyNot({ reason, missing }: Row): string {
  if (reason === 'required_missing') return `required_missing: ${listText(missing)}`;
  if (typeof reason === 'string') return reason;
  const names = listText(missing);
  return names === '' ? '' : `without ${names}`;
}

function rowsIn(list: unknown): readonly Row[] {
  return Array.isArray(list) ? (list as readonly Row[]) : [];
}

function listText(list: unknown): string {
  return Array.isArray(list) ? list.map(String).join(', ') : '';
}

function member(of: unknown, name: string): unknown {
  return typeof of === 'object' && of !== null ? (of as Row)[name] : undefined;
}

function text(value: unknown): string {
  return String(score(value));
}

function signed(value: unknown): unknown {
  return typeof value === 'number' && value >= 0 ? `+${text(value)}` : score(value);
}

function percent(value: unknown): unknown {
  return typeof value === 'number' ? `${(100 * value).toFixed(1)} %` : value;
}

/** In the metric's own unit: as many digits as a person reads. */
function number(value: unknown): unknown {
  return typeof value === 'number' ? String(Number(value.toPrecision(6))) : value;
}
