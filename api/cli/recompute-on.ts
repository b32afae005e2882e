import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { ArchiveFalls } from '../../scoring/batch/count-share.ts';
import { CLAIM_ENV, parseHandedShards } from '../../scoring/batch/handed-shard.ts';
import { PANES_FILE } from '../../scoring/batch/pane-file.ts';
import { openPlace, toldAsAltered } from './archive-reports.ts';
import { bookShards, endOfShards, howAsked, type JobsAsked, OWN_MERIT, poolsOf } from './booked-shards.ts';
import { connect } from './client.ts';
import { CliError, EXIT } from './exit.ts';
import type { Invocation } from './invocation.ts';
import type { Row } from './render.ts';
import { rolloutPath } from './rollout.ts';
import { s3PlaceOf } from './s3-place.ts';
import { copySegments, neededOf } from './sent-segments.ts';

/** A merge is one transaction of a partition's whole history. */
const MERGE_TIMEOUT_MS = 10 * 60_000;
/** A server merges one at a time. */
const PATIENTLY = { timeoutMs: MERGE_TIMEOUT_MS, waits: Number.POSITIVE_INFINITY };
const SHARDS = 'shards.json';
/** Where the segments lie that are sent. */
const SENT = 'place';

/** What is to be read is named in files beside it: nothing that was given is spliced into the line. */
export const RUN = [
  ...OWN_MERIT,
  'IFS= read -r place < place.txt',
  'case $place in s3:*) ;; *) [ -d "$place/archive" ] || stop "this node has no archive at $place: mount it there by the same path, or have it sent (--files sent)" ;; esac',
  `own recompute --handed ${SHARDS} --archive "$place" --shard "$MERIT_ARRAY_INDEX/$MERIT_ARRAY_COUNT" --into "$MERIT_OUTPUTS/${PANES_FILE}"`,
].join('\n');

/** `shards`: jobs a partition. */
export interface RecomputeAsked extends JobsAsked {
  readonly suite: string;
  /** A folder, or s3://bucket/prefix. */
  readonly archive: string;
  readonly hold: string;
}

/**
 * Has jobs count what is left of the history of a suite's new version, and the server add it, a partition a transaction. Whatever ends it before
 * gives the history back to the workers. Throws CliError.
 */
export async function recomputeOn(invocation: Invocation, asked: RecomputeAsked): Promise<readonly Row[]> {
  const { io } = invocation;
  const client = await connect(invocation);
  const pools = await poolsOf(client, asked.on);
  const place = s3PlaceOf(asked.archive) === undefined ? resolve(io.cwd, asked.archive) : asked.archive;
  const store = await openPlace(io.cwd, place);
  const path = rolloutPath(asked.suite);
  const claimed = await client.json<Row>('POST', `${path}:claim`, { body: { hold: asked.hold } });
  const claim = String(claimed.claim);
  try {
    const shards = parseHandedShards(claimed.shards);
    const segments = await neededOf(store, shards);
    const bytes = segments.reduce((total, { size }) => total + size, 0);
    const how = howAsked(asked, pools, bytes, 'the segments of the archive are');
    const name = `recompute-${asked.suite}`.slice(0, 64);
    const count = shards.length * asked.shards;
    const fill = async (code: string) => {
      await writeFile(join(code, SHARDS), JSON.stringify(shards));
      await writeFile(join(code, 'place.txt'), `${how === 'sent' ? SENT : place}\n`);
      if (how === 'sent') await copySegments(store, segments, shards[0]!.tenant, join(code, SENT));
    };
    const envs = { [CLAIM_ENV]: claim };
    const tasks = await bookShards(client, invocation, asked, { name, count, pools, fill, run: RUN, envs });
    io.note(how === 'sent' ? 'the archive was sent with them' : 'they read the archive where it lies');
    await endOfShards(client, invocation, name, tasks);
    const merged: Row[] = [];
    for (const [i, { partition }] of shards.entries()) {
      const jobs = tasks.slice(i * asked.shards, (i + 1) * asked.shards);
      const body = { claim, partition, jobs };
      merged.push(await client.json<Row>('POST', `${path}:merge`, { body, ...PATIENTLY }));
    }
    return merged;
  } catch (error) {
    // With a signal of its own: the one that asked may be over.
    await release({ io, signal: AbortSignal.timeout(30_000) }, path, claim).catch(() => {});
    throw toldAsShort(toldAsAltered(error));
  }
}

async function release(invocation: Pick<Invocation, 'io' | 'signal'>, path: string, claim: string): Promise<void> {
  const client = await connect(invocation);
  await client.json('POST', `${path}:release`, { body: { claim } });
}

/** An archive that has not all, as a command tells it; everything else as it is. */
export function toldAsShort(error: unknown): unknown {
  if (!(error instanceof ArchiveFalls)) return error;
  return new CliError(EXIT.incomplete, 'archive_short', error.message, {
    mend: 'a server archives what it read within archive.segmentAge: try again then, or let its workers do it',
  });
}
