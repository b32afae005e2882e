import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, showList, showOne } from '../render.ts';
import { RANKING } from '../shapes.ts';
import type { Format } from '../values.ts';

/** Models in rank order; JSON and YAML carry the checksum that a replay must give. */
export default async function leaderboard(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const format = options.output as Format;
  const query = new URLSearchParams();
  if (options.at !== undefined) query.set('at', String(options.at));
  if (format === 'json' || format === 'yaml') query.set('checksum', 'true');
  const client = await connect(invocation);
  const path = `/v1/leaderboards/${encodeURIComponent(args[0] ?? '')}`;
  const board = await client.get<Row>(`${path}${query.size === 0 ? '' : `?${query}`}`);
  if (format === 'json' || format === 'yaml') await showOne(io, format, RANKING, board);
  else await showList(io, format, RANKING, Array.isArray(board.models) ? (board.models as readonly Row[]) : []);
  return EXIT.ok;
}
