import { setTimeout as sleep } from 'node:timers/promises';
import { type Refusal, RefusedInput } from '../../../core/refusal.ts';
import { parseRfc3339 } from '../../../core/rfc3339.ts';
import { type Client, connect } from '../client.ts';
import { CliError, EXIT, usage } from '../exit.ts';
import { patiently } from '../follow.ts';
import type { Invocation } from '../invocation.ts';
import type { Row } from '../render.ts';
import { progressText, showReplay } from '../replay.ts';
import { readSuite } from '../report-files.ts';

const POLL_MS = 500;

/** Starts a replay, or takes up the one that was asked for in the same words, and follows it to its end. */
export default async function replayStart(invocation: Invocation): Promise<number> {
  const { options, io, signal } = invocation;
  const { from, to } = options as { from?: string; to?: string };
  if (from !== undefined && to !== undefined && isAfter(from, to))
    throw usage('--from is later than --to', 'give the earlier one first');
  const body = {
    into: options.into,
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    ...(options.source === undefined ? {} : { source: options.source }),
    ...(options.rate === undefined ? {} : { rate: options.rate }),
    ...(options.suite === undefined ? {} : { suite: await suiteIn(options.suite as string) }),
  };
  const client = await connect(invocation);
  const started = await client.json<Row>('POST', '/v1/replays', { body });
  io.note(`replay ${String(started.id)}`);
  const ended = options.detach === true ? started : await follow(client, invocation, started, signal);
  await showReplay(invocation, ended);
  return ended.state === 'failed' ? EXIT.tampered : EXIT.ok;
}

/** Both as times, or both as offsets; the server knows what else is wrong with them. */
function isAfter(from: string, to: string): boolean {
  const [a, b] = [parseRfc3339(from), parseRfc3339(to)];
  if (a !== undefined && b !== undefined) return a > b;
  return /^[0-9]{1,18}$/.test(from) && /^[0-9]{1,18}$/.test(to) && BigInt(from) > BigInt(to);
}

async function suiteIn(path: string): Promise<object> {
  const refusals: Refusal[] = [];
  const suite = await readSuite('--suite', path, refusals);
  if (suite === undefined) throw new RefusedInput(refusals);
  return suite.document;
}

async function follow(client: Client, { io }: Pick<Invocation, 'io'>, started: Row, signal: AbortSignal): Promise<Row> {
  const id = String(started.id);
  try {
    for (let shown = ''; ; await sleep(POLL_MS, undefined, { signal })) {
      const row = await patiently(io, signal, () => client.get<Row>(`/v1/replays/${encodeURIComponent(id)}`));
      const now = progressText(row);
      if (now !== shown) io.progress(now);
      shown = now;
      if (row.state !== 'queued' && row.state !== 'running') return row;
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    const mend = `see merit replay status ${id}, end it by merit replay cancel ${id}, or start it in the same words to follow it`;
    throw new CliError(EXIT.interrupted, 'interrupted', `replay ${id} goes on in the server`, { mend });
  }
}
