import { connect } from '../client.ts';
import { CliError, EXIT } from '../exit.ts';
import { writeOutputStream } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { demandEqual, type FinopsMonth } from './finops-report.ts';

export default async function finopsExport(invocation: Invocation): Promise<number> {
  const { options, io } = invocation;
  const client = await connect(invocation);
  const path = `/v1/finops/months/${String(options.month)}`;
  const month = await client.get<FinopsMonth>(path);
  const rows = await client.stream(`${path}/charges?format=${String(options.format)}&to=${month.to}`, {});
  const billed = new BilledSum();
  await writeOutputStream(io, String(options.out ?? '-'), billed.through(rows));
  const settled = month.divisions.reduce((sum, { ledger }) => sum + cents(ledger.settled), 0n);
  if (billed.cents !== settled)
    throw new CliError(
      EXIT.tampered,
      'ledger_differs',
      `the rows come to ${billed.cents} cents, the ledger’s accounts to ${settled}`,
      {
        mend: '"merit finops report" tells the divisions',
      },
    );
  demandEqual(month);
  const open = month.open ? `, settled until ${month.to}: the month has not ended` : '';
  io.note(`${billed.rows} charges, equal to the ledger${open}`);
  return EXIT.ok;
}

/** Sums the first field of every row, BilledCost, which is never quoted; no field of a row holds a line break. */
class BilledSum {
  cents = 0n;
  rows = 0;

  async *through(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    const decoder = new TextDecoder();
    let rest = '';
    let isHeader = true;
    for await (const piece of pieces) {
      const lines = (rest + decoder.decode(piece, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (!isHeader) {
          this.cents += cents(line.slice(0, line.indexOf(',')));
          this.rows++;
        }
        isHeader = false;
      }
      yield piece;
    }
  }
}

function cents(text: string): bigint {
  return BigInt(text.replace('.', ''));
}
