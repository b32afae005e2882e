import { type Client, connect } from '../client.ts';
import { CliError, EXIT, usage } from '../exit.ts';
import { explanationText } from '../explanation.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, showList, showOne, table } from '../render.ts';
import { RANKING, SCORE_HISTORY, score, widestWindow } from '../shapes.ts';
import type { Format } from '../values.ts';

/** A model's last scores, those of one suite over time (--history), or one of them taken apart (--explain). */
export default async function scores(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const { suite, at, explain, history } = options;
  if (explain === true && history === true) throw usage('--explain and --history are two questions', 'ask one');
  if (at !== undefined && explain !== true) throw usage('--at goes with --explain', 'add --explain');
  if (history === true && suite === undefined)
    throw new CliError(EXIT.usage, 'usage', '--history is of one suite', { mend: 'add --suite SUITE' });
  const format = options.output as Format;
  const path = `/v1/scores/${encodeURIComponent(args[0] ?? '')}`;
  const query = new URLSearchParams();
  if (suite !== undefined) query.set('suite', String(suite));
  if (at !== undefined) query.set('at', String(at));
  const client = await connect(invocation);
  if (explain === true) {
    const answer = await client.get<Row>(`${path}/explain${query.size === 0 ? '' : `?${query}`}`);
    await showOne(io, format, RANKING, answer, explanationText(answer));
  } else if (history === true) {
    await showList(
      io,
      format,
      SCORE_HISTORY,
      await historyOf(client, path, query, options.limit as number | undefined),
    );
  } else {
    const answer = await client.get<Row>(`${path}${query.size === 0 ? '' : `?${query}`}`);
    await showOne(io, format, RANKING, answer, scoreText(answer));
  }
  return EXIT.ok;
}

function historyOf(client: Client, path: string, query: URLSearchParams, most?: number): Promise<readonly Row[]> {
  query.set('history', 'true');
  if (most !== undefined) query.set('limit', String(Math.min(most, MAX_PAGE)));
  return client.all<Row>(`${path}?${query}`, most);
}

/** The API's largest page. */
const MAX_PAGE = 500;

/** One line a suite and window; `all` is the composite. */
function scoreText(answer: Row): string {
  const suites = Array.isArray(answer.suites) ? (answer.suites as readonly Row[]) : [];
  const rows = suites.flatMap((of) => {
    const windows =
      typeof of.windows === 'object' && of.windows !== null ? Object.entries(of.windows as Record<string, Row>) : [];
    const { suite, at } = of;
    const whole: Row = { ...of, window: 'all', score: of.composite, n: widestWindow(of)?.n };
    return [whole, ...windows.map(([window, row]) => ({ ...row, suite, at, window }))];
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
      { head: 'REVISION', cell: (row) => row.revision },
    ],
    rows,
  );
}
