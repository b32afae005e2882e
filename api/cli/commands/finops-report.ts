import { connect } from '../client.ts';
import { CliError, EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, type Shape, showList, showOne } from '../render.ts';
import type { Format } from '../values.ts';

export interface FinopsMonth extends Row {
  readonly month: string;
  readonly to: string;
  readonly open: boolean;
  readonly divisions: readonly DivisionSpend[];
}

export interface DivisionSpend extends Row {
  readonly division: string;
  readonly currency: string;
  readonly settled: string;
  readonly ledger: { readonly settled: string; readonly openAfter: string; readonly equal: boolean };
}

const SHAPE: Shape = {
  name: (row) => `${String(row.division)}-${String(row.currency)}`,
  columns: [
    { head: 'DIVISION', cell: (row) => row.division },
    { head: 'CURRENCY', cell: (row) => row.currency },
    { head: 'SETTLED', cell: (row) => row.settled },
    { head: 'COMPLETED', cell: (row) => row.completed },
    { head: 'PREEMPTED', cell: (row) => row.preempted },
    { head: 'FAILED', cell: (row) => row.failed },
    { head: 'STOPPED', cell: (row) => row.stopped },
    { head: 'SPOT', cell: (row) => row.spot },
    { head: 'HELD BY WHAT RUNS', cell: (row) => (row as DivisionSpend).ledger.openAfter },
    { head: 'ATTEMPTS', cell: (row) => row.settlements, wide: true },
  ],
};

/** Throws CliError where what was charged is not what the ledger's accounts moved. */
export function demandEqual({ divisions }: FinopsMonth): void {
  const wrong = divisions.filter(({ ledger }) => !ledger.equal);
  if (wrong.length === 0) return;
  const text = wrong
    .map(
      ({ division, currency, settled, ledger }) =>
        `${division}: charged ${settled} ${currency}, the ledger has ${ledger.settled}`,
    )
    .join('\n');
  throw new CliError(EXIT.tampered, 'ledger_differs', text, {
    mend: '"merit audit export" and "merit audit verify" tell whether the trail was changed',
  });
}

export default async function finopsReport(invocation: Invocation): Promise<number> {
  const { options, io } = invocation;
  const client = await connect(invocation);
  const month = await client.get<FinopsMonth>(`/v1/finops/months/${String(options.month)}`);
  const format = options.output as Format;
  if (format === 'json' || format === 'yaml') await showOne(io, format, SHAPE, month);
  else await showList(io, format, SHAPE, month.divisions);
  if (month.open) io.note(`settled until ${month.to}; the month has not ended`);
  demandEqual(month);
  return EXIT.ok;
}
