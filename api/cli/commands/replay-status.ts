import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, showList } from '../render.ts';
import { replayPath, showReplay } from '../replay.ts';
import { REPLAY } from '../shapes.ts';
import type { Format } from '../values.ts';

export default async function replayStatus(invocation: Invocation): Promise<number> {
  const { args, io, options } = invocation;
  const client = await connect(invocation);
  if (args[0] !== undefined) await showReplay(invocation, await client.get<Row>(replayPath(args[0])));
  else await showList(io, options.output as Format, REPLAY, await client.all<Row>('/v1/replays?limit=500'));
  return EXIT.ok;
}
