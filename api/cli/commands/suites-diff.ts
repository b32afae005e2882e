import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Column, facts, type Row, showOne, table } from '../render.ts';
import { historyText } from '../rollout.ts';
import { ROLLOUT, score } from '../shapes.ts';
import type { Format } from '../values.ts';

/** Both versions of a suite side by side: what each says of every model, and what each would decide. */
export default async function suitesDiff(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const format = options.output as Format;
  const client = await connect(invocation);
  const diff = await client.get<Row>(`/v1/suites/${encodeURIComponent(args[0] ?? '')}/diff`);
  await showOne(io, format, ROLLOUT, diff, diffText(diff, format === 'wide'));
  return EXIT.ok;
}

const member = (row: Row, ...path: readonly string[]): unknown => {
  let at: unknown = row;
  for (const name of path) at = (at as Row | null | undefined)?.[name];
  return at;
};

const signed = (value: unknown, decimals: (value: unknown) => unknown): unknown =>
  typeof value === 'number' && value > 0 ? `+${String(decimals(value))}` : decimals(value);
const whole = (value: unknown) => value;

const MODEL_COLUMNS: readonly Column[] = [
  { head: 'MODEL', cell: (row) => row.model },
  { head: 'DECIDED BY', cell: (row) => row.decidedBy },
  { head: 'ACTIVE', cell: (row) => score(member(row, 'active', 'composite')) },
  { head: 'LOWER', cell: (row) => score(member(row, 'active', 'lower')), wide: true },
  { head: 'UPPER', cell: (row) => score(member(row, 'active', 'upper')), wide: true },
  { head: 'RANK', cell: (row) => member(row, 'active', 'rank') },
  { head: 'NEXT', cell: (row) => score(member(row, 'next', 'composite')) },
  { head: 'LOWER', cell: (row) => score(member(row, 'next', 'lower')), wide: true },
  { head: 'UPPER', cell: (row) => score(member(row, 'next', 'upper')), wide: true },
  { head: 'RANK', cell: (row) => member(row, 'next', 'rank') },
  { head: 'DIFFERENCE', cell: (row) => signed(member(row, 'difference', 'composite'), score) },
  { head: 'LOWER', cell: (row) => signed(member(row, 'difference', 'lower'), score), wide: true },
  { head: 'UPPER', cell: (row) => signed(member(row, 'difference', 'upper'), score), wide: true },
  { head: 'RANK', cell: (row) => signed(member(row, 'difference', 'rank'), whole) },
];

const DECISION_COLUMNS: readonly Column[] = [
  { head: 'TICK', cell: (row) => row.tick },
  { head: 'VERSION', cell: (row) => row.by },
  { head: 'ACTION', cell: (row) => (row.decision === null ? `would ${String(row.action)}` : row.action) },
  { head: 'MODEL', cell: (row) => row.model },
  { head: 'INCUMBENT', cell: (row) => row.incumbentBefore },
  { head: 'DECISION', cell: (row) => row.decision, wide: true },
];

function rows(value: unknown): readonly Row[] {
  return Array.isArray(value) ? (value as readonly Row[]) : [];
}

function diffText(diff: Row, wide: boolean): string {
  const rollout = diff.rollout as Row;
  const head = facts([
    ['suite', diff.suite],
    ['active', diff.active],
    ['next', diff.next],
    ['at', diff.at ?? 'no tick that both have scored yet'],
    ['complete from', rollout.completeFrom],
    [
      'complete',
      rollout.complete === true ? 'yes' : 'no: windows of the next version lack reports from before it began',
    ],
    ['history', historyText(rollout)],
    ['share', `${String(rollout.share)} %, in force ${String(rollout.shareInForce)} %`],
    ['refused by next only', rollout.refused],
    ['missed by next', rollout.missed],
  ]);
  const models = table(MODEL_COLUMNS, rows(diff.models), wide);
  const decisions = rows(diff.decisions);
  const differing =
    decisions.length === 0
      ? 'no decision differs\n'
      : `decisions that differ\n${table(DECISION_COLUMNS, decisions, wide)}`;
  return `${head}\n${models}\n${differing}`;
}
