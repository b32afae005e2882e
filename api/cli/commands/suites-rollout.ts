import { type Client, connect } from '../client.ts';
import type { Invocation } from '../invocation.ts';
import type { Row } from '../render.ts';
import { putRollout, rolloutPath, showRollout } from '../rollout.ts';

/** Shows the rollout of a suite, changes its share of the models, or ends it. */
export default async function suitesRollout(invocation: Invocation): Promise<number> {
  const { args, options } = invocation;
  const client = await connect(invocation);
  return showRollout(invocation, await rollout(client, args[0] ?? '', options));
}

async function rollout(client: Client, name: string, options: Invocation['options']): Promise<Row> {
  const path = rolloutPath(name);
  if (options.promote === true)
    return client.json<Row>('POST', `${path}:promote${options.force === true ? '?force=true' : ''}`);
  if (options.rollback === true) return client.json<Row>('POST', `${path}:rollback`);
  if (options.shadow === true) return putRollout(client, name, { share: 0 }, options);
  if (options.canary !== undefined) return putRollout(client, name, { share: options.canary as number }, options);
  return client.get<Row>(path);
}
