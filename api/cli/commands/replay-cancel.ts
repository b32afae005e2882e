import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import type { Row } from '../render.ts';
import { replayPath, showReplay } from '../replay.ts';

export default async function replayCancel(invocation: Invocation): Promise<number> {
  const client = await connect(invocation);
  await showReplay(invocation, await client.json<Row>('POST', `${replayPath(invocation.args[0])}:cancel`));
  return EXIT.ok;
}
