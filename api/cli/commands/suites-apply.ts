import { connect } from '../client.ts';
import { usage } from '../exit.ts';
import { readDescription } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { nameIn, nounCommand } from '../nouns.ts';
import { putRollout, showRollout } from '../rollout.ts';

/** Makes a suite or its next version the active one; with --shadow or --canary puts the version beside it. */
export default async function suitesApply(invocation: Invocation): Promise<number> {
  const { io, options } = invocation;
  if (options.shadow === undefined && options.canary === undefined) {
    if (options.force !== undefined) throw usage('--force is for --canary', 'leave it out');
    return nounCommand('suites', 'apply', invocation);
  }
  const document = await readDescription(io, String(options.file));
  const client = await connect(invocation);
  const wanted = { suite: document, share: (options.canary as number | undefined) ?? 0 };
  return showRollout(invocation, await putRollout(client, nameIn(document), wanted, options));
}
