import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, showOne, table } from '../render.ts';
import { RANKING, score } from '../shapes.ts';
import type { Format } from '../values.ts';

/** The last published scores of a model: in a table one line a suite and window. */
export default async function scores(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const suite = options.suite === undefined ? '' : `?suite=${encodeURIComponent(String(options.suite))}`;
  const client = await connect(invocation);
  const answer = await client.get<Row>(`/v1/scores/${encodeURIComponent(args[0] ?? '')}${suite}`);
  await showOne(io, options.output as Format, RANKING, answer, scoreText(answer));
  return EXIT.ok;
}

function scoreText(answer: Row): string {
  const suites = Array.isArray(answer.suites) ? (answer.suites as readonly Row[]) : [answer];
  const rows = suites.flatMap((of) => {
    const windows =
      typeof of.windows === 'object' && of.windows !== null ? Object.entries(of.windows as Record<string, Row>) : [];
    const whole: Row = {
      suite: of.suite,
      at: of.at,
      window: 'all',
      score: of.composite,
      lower: of.lower,
      upper: of.upper,
      n: null,
    };
    return [whole, ...windows.map(([window, row]) => ({ ...row, suite: of.suite, at: of.at, window }))];
  });
  return table(
    [
      { head: 'SUITE', cell: (row) => row.suite },
      { head: 'AT', cell: (row) => row.at },
      { head: 'WINDOW', cell: (row) => row.window },
      { head: 'SCORE', cell: (row) => score(row.score) },
      { head: 'LOWER', cell: (row) => score(row.lower) },
      { head: 'UPPER', cell: (row) => score(row.upper) },
      { head: 'N', cell: (row) => row.n },
    ],
    rows,
  );
}
