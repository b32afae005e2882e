import { readFile, rename, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseJson } from '../../../core/json.ts';
import { RefusedInput, refuse } from '../../../core/refusal.ts';
import { archivedPartitions } from '../../../scoring/archive/archived-reports.ts';
import { countShare } from '../../../scoring/batch/count-share.ts';
import { type HandedShard, parseHandedShards } from '../../../scoring/batch/handed-shard.ts';
import type { HourShare } from '../../../scoring/batch/hour-share.ts';
import { openPlace, toldAsAltered } from '../archive-reports.ts';
import { jobsAsked } from '../booked-shards.ts';
import { CliError, EXIT, usage } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { recomputeOn, toldAsShort } from '../recompute-on.ts';
import { type Shape, showList } from '../render.ts';
import type { Format } from '../values.ts';

const MERGED: Shape = {
  name: (row) => String(row.partition),
  columns: [
    { head: 'PARTITION', cell: (row) => row.partition },
    { head: 'PANES', cell: (row) => row.panes },
    { head: 'COUNTED', cell: (row) => countOf(row.counts, 'counted') },
    { head: 'LATE', cell: (row) => countOf(row.counts, 'late') },
    { head: 'REFUSED', cell: (row) => countOf(row.counts, 'refused') },
    { head: 'OUTDATED', cell: (row) => countOf(row.counts, 'outdated') },
  ],
};

function countOf(counts: unknown, name: string): unknown {
  return (counts as Readonly<Record<string, unknown>>)[name];
}

/** Has the history of a suite's new version counted by jobs; or, as such a job, counts one share of it. */
export default async function recompute(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  if (options.handed !== undefined) return countHanded(invocation);
  const [suite] = args;
  if (suite === undefined || options.on === undefined)
    throw usage('a suite and --on are needed', 'write merit recompute SUITE --on ray --archive PLACE');
  const merged = await recomputeOn(invocation, {
    suite,
    archive: String(options.archive),
    hold: String(options.hold),
    ...jobsAsked(options),
  });
  await showList(io, options.output as Format, MERGED, merged);
  return EXIT.ok;
}

async function countHanded({ io, options }: Invocation): Promise<number> {
  if (options.shard === undefined || options.into === undefined)
    throw usage('--handed needs --shard and --into', 'they are what a job of merit recompute --on is given');
  const shards = parseHandedShards(await readJson(resolve(io.cwd, String(options.handed))));
  const { shard, share } = placeOf(String(options.shard), shards);
  const target = String(options.into);
  // MERIT_OUTPUTS of a job is a place by its URL.
  const into = target.startsWith('file:') ? fileURLToPath(target) : resolve(io.cwd, target);
  try {
    const store = await openPlace(io.cwd, String(options.archive));
    const archive = await archivedPartitions(store, shard.topic);
    let messages = 0;
    const bytes = await countShare(store, shard, share, archive, (more) => {
      messages += more;
      io.progress(`${messages} messages read`);
    });
    await writeFile(`${into}.tmp`, bytes);
    await rename(`${into}.tmp`, into);
    io.note(`share ${share.index} of ${share.of} of partition ${shard.partition}: ${messages} messages read`);
    return EXIT.ok;
  } catch (error) {
    throw toldAsShort(toldAsAltered(error));
  }
}

async function readJson(path: string): Promise<unknown> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw new CliError(EXIT.badValue, 'handed', `${JSON.stringify(path)} cannot be read (${error.code})`, {
      mend: 'check the path',
    });
  });
  const reading = parseJson(bytes);
  if (!reading.ok)
    throw new RefusedInput([refuse(reading.code, '--handed', reading.reason, 'give it as it was handed')]);
  return reading.value;
}

/** `5/8` of two partitions: the second share of four of the second one. */
function placeOf(
  text: string,
  shards: readonly HandedShard[],
): { readonly shard: HandedShard; readonly share: HourShare } {
  const [, index = -1, count = 0] = (/^(0|[1-9][0-9]{0,5})\/([1-9][0-9]{0,5})$/.exec(text) ?? []).map(Number);
  const of = count / shards.length;
  const shard = shards[Math.floor(index / of)];
  if (!Number.isInteger(of) || of < 1 || index >= count || shard === undefined) {
    const problem = `is ${JSON.stringify(text.slice(0, 20))}, which is no share of ${shards.length} partitions`;
    throw new RefusedInput([refuse('value', '--shard', problem, 'give it as MERIT_ARRAY_INDEX/MERIT_ARRAY_COUNT')]);
  }
  return { shard, share: { index: index % of, of } };
}
