import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { parseJson } from '../../../core/json.ts';
import { connect, problemError } from '../client.ts';
import { CliError, EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, showList } from '../render.ts';
import { UNNAMED } from '../shapes.ts';
import type { Format } from '../values.ts';

const COLLECT_TIMEOUT_MS = 30 * 60_000;

/** Deletes what no manifest and no log names; with --dry-run only tells of it. */
export default async function artifactsGc(invocation: Invocation): Promise<number> {
  const { options, io } = invocation;
  const client = await connect(invocation);
  const body = { dryRun: options.dryRun === true, ...(options.grace === undefined ? {} : { grace: options.grace }) };
  const reply = await client.request('POST', '/v1/artifacts:collect', { body, timeoutMs: COLLECT_TIMEOUT_MS });
  if (reply.status >= 400) {
    const problem = parseJson(reply.bytes);
    throw problemError(reply.status, problem.ok ? problem.value : undefined);
  }
  const found: Row[] = [];
  let summary: Row | undefined;
  for await (const line of createInterface({ input: Readable.from([reply.bytes]) })) {
    const row = JSON.parse(line) as Row;
    if (row.summary === undefined) found.push(row);
    else summary = row.summary as Row;
  }
  if (summary === undefined)
    throw new CliError(EXIT.internal, 'incomplete', 'the collection broke off', { mend: 'run it again: it goes on' });
  await showList(io, options.output as Format, UNNAMED, found);
  const unfinished = body.dryRun ? '' : `, ${String(summary.unfinishedUploads)} unfinished uploads given up`;
  io.note(
    `${String(summary.unnamed)} objects (${String(summary.unnamedBytes)} bytes) that nothing names${body.dryRun ? '' : ', deleted'}${unfinished}`,
  );
  if (Number(summary.unknown) > 0)
    io.note(`${String(summary.unknown)} objects of jobs that this server does not know were left alone`);
  return EXIT.ok;
}
