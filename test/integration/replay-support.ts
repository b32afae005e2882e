import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LogMessage } from '../../platform/event-log.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { archivedLog } from '../../scoring/archive/archived-log.ts';
import { Archiver } from '../../scoring/archive/archiver.ts';
import { NO_ARCHIVE_METRICS } from '../../scoring/archive/context.ts';
import { decodeSegment, encodeSegment, pack, unpack } from '../../scoring/archive/segment-codec.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { NO_REPLAY_METRICS, type ReplayContext } from '../../scoring/replay/context.ts';
import { workOffOne } from '../../scoring/replay/replay-worker.ts';
import { getReplay, type Replay, startReplay } from '../../scoring/replay/replays.sql.ts';
import type { RunOptions } from '../../scoring/replay/run-replay.ts';
import { type ReplayWish, replaySpec } from '../../scoring/replay/spec.ts';
import { asAdmin, type TestDatabase } from '../support/db.ts';
import { currentEpoch, type Harness, TRACE } from './scoring-online-support.ts';

const HOUR_MS = 3_600_000;

/** Everything that was consumed, in segments of a few messages. */
export async function archiveAll(
  t: TestDatabase,
  h: Harness,
  store: ObjectStore,
  maxSegmentBytes = 20_000,
): Promise<void> {
  const { clock, log } = h.context();
  // The clock stands: whatever there is is old enough.
  const policy = { segmentAgeMs: -24 * HOUR_MS, keepMs: null, logKeepMs: null };
  const epoch = await currentEpoch(t.db);
  const ctx = { db: t.db, epoch, clock, eventLog: h.log, log, store, policy, metrics: NO_ARCHIVE_METRICS };
  const archiver = new Archiver(ctx, { maxSegmentBytes });
  while (await archiver.archive(new AbortController().signal));
}

export function replayContext(t: TestDatabase, h: Harness, store: ObjectStore): ReplayContext {
  const { clock, log } = h.context();
  return { db: t.db, clock, eventLog: h.log, log, store, holder: 'test', metrics: NO_REPLAY_METRICS };
}

export async function askFor(t: TestDatabase, tenant: string, wish: Partial<ReplayWish> = {}): Promise<Replay> {
  const by = { tenant, actor: 'tester', traceId: TRACE, nowMs: Date.now() };
  const spec = replaySpec({ into: 'shadow', ...wish });
  return (await t.db.asTenant(tenant, (tx) => startReplay(tx, by, spec))).replay;
}

export async function replayed(t: TestDatabase, { replayId, tenant }: Replay): Promise<Replay> {
  return (await t.db.asTenant(tenant, (tx) => getReplay(tx, tenant, replayId)))!;
}

/** Asks for a replay and works it off. */
export async function replay(
  t: TestDatabase,
  ctx: ReplayContext,
  tenant: string,
  wish: Partial<ReplayWish> = {},
  options: RunOptions = {},
): Promise<Replay> {
  const asked = await askFor(t, tenant, wish);
  await workOffOne(ctx, new AbortController().signal, options);
  return replayed(t, asked);
}

/** All rows of the installation's own tables but those that say how a replay goes, as one text a table. */
export async function everythingLive(t: TestDatabase): Promise<ReadonlyMap<string, string>> {
  const tables = await asAdmin(
    t.urls.admin,
    `select relname::text as name from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' and relname <> 'replays' order by 1`,
  );
  const found = new Map<string, string>();
  for (const { name } of tables) {
    const rows = await asAdmin(
      t.urls.admin,
      `select md5(coalesce(string_agg(r::text, '|' order by r::text), '')) as sum from public.${String(name)} r`,
    );
    found.set(String(name), String(rows[0]!.sum));
  }
  return found;
}

/** Changes a segment as somebody would who knows its form. */
export async function rewriteSegment(
  root: string,
  key: string,
  change: (messages: LogMessage[]) => void,
): Promise<void> {
  const path = join(root, key);
  const read = decodeSegment((await unpack(await readFile(path)))!);
  const messages = [...read.messages];
  change(messages);
  await writeFile(path, await pack(encodeSegment({ ...read.stretch!, messages })));
}

/** The message at an offset, from wherever it still is. */
export async function messageAt(t: TestDatabase, h: Harness, store: ObjectStore, offset: bigint): Promise<LogMessage> {
  const source = archivedLog({ db: t.db, store, eventLog: h.log, prefer: 'log' });
  return (await source.read(REPORTS_TOPIC, 0, offset, 1, 1))[0]!;
}
