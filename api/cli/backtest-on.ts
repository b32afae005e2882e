import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { canonicalText } from '../../core/canonical.ts';
import type { ArchiveFile } from '../../scoring/backtest/readings/read-shard.ts';
import { archiveFiles } from './backtest-readings.ts';
import { bookShards, endOfShards, howAsked, type JobsAsked, OWN_MERIT, poolsOf } from './booked-shards.ts';
import { type Client, connect } from './client.ts';
import type { BacktestInputs } from './commands/backtest.ts';
import { download, type RemoteFile } from './download.ts';
import { CliError, EXIT } from './exit.ts';
import type { Invocation } from './invocation.ts';

/** What each shard leaves. */
const READINGS = 'shard.readings';
/** What is to be read lies in files beside it: nothing that was given is spliced into the line. */
export const RUN = [
  ...OWN_MERIT,
  'while IFS= read -r file; do [ -f "$file" ] || stop "this node has no file $file: mount it there by the same path, or have it sent (--files sent)"; done < reports.txt',
  'set --; [ ! -f against.json ] || set -- --against against.json',
  `own backtest --suite suite.json "$@" --reports-list reports.txt --shard "$MERIT_ARRAY_INDEX/$MERIT_ARRAY_COUNT" --into "$MERIT_OUTPUTS/${READINGS}"`,
].join('\n');

export interface ShardsAsked extends JobsAsked {
  readonly reports: readonly string[];
}

export interface ShardsRead {
  readonly readings: readonly string[];
  /** As they were given, whatever they are called where they were read. */
  readonly names: readonly string[];
}

/**
 * Books an archive's shards as one array of jobs and waits for them; resolves with the paths of their readings, below `folder`. An interrupt
 * cancels what has not ended. Throws CliError.
 */
export async function readShardsOn(
  invocation: Invocation,
  { suite, against }: BacktestInputs,
  asked: ShardsAsked,
  folder: string,
): Promise<ShardsRead> {
  const { io, signal } = invocation;
  const client = await connect(invocation);
  const files = await archiveFiles(asked.reports.map((path) => (path === '-' ? path : resolve(io.cwd, path))));
  const pools = await poolsOf(client, asked.on);
  const bytes = files.reduce((all, file) => all + file.bytes, 0);
  const how = howAsked(asked, pools, bytes, 'the reports are');
  const name = `backtest-${suite.name}`.slice(0, 64);
  const fill = async (code: string) => {
    await writeFile(join(code, 'suite.json'), canonicalText(suite.document));
    if (against !== null) await writeFile(join(code, 'against.json'), canonicalText(against.document));
    const names = how === 'sent' ? await copiedInto(code, files) : files.map(({ name }) => name);
    await writeFile(join(code, 'reports.txt'), names.map((name) => `${name}\n`).join(''));
  };
  const tasks = await bookShards(client, invocation, asked, { name, count: asked.shards, pools, fill, run: RUN });
  io.note(
    how === 'sent' ? 'the reports were sent with them' : 'they read the reports where they lie, by the same paths',
  );
  await endOfShards(client, invocation, name, tasks);
  const paths: string[] = [];
  for (const [shard, id] of tasks.entries()) {
    const into = join(folder, String(shard));
    await download(client, io, `/v1/jobs/${id}`, await readingsOf(client, id), into, signal);
    paths.push(join(into, READINGS));
  }
  return { readings: paths, names: files.map(({ name }) => name) };
}

/** By numbers: what they are called here may be no name there. */
async function copiedInto(code: string, files: readonly ArchiveFile[]): Promise<readonly string[]> {
  await mkdir(join(code, 'reports'));
  const names = files.map((_file, i) => `reports/${i}.ndjson`);
  for (const [i, { name }] of files.entries()) await copyFile(name, join(code, names[i]!));
  return names;
}

async function readingsOf(client: Client, jobId: string): Promise<RemoteFile> {
  const { files } = await client.get<{ readonly files: readonly RemoteFile[] }>(`/v1/jobs/${jobId}/artifacts`);
  const file = files.find(({ path }) => path === READINGS);
  if (file !== undefined) return file;
  throw new CliError(EXIT.notFound, 'not_found', `job ${jobId} ended well, but left no ${READINGS}`, {
    mend: `see "merit logs ${jobId}"`,
  });
}
