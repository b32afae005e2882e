import { openFileObjectStore } from '../../platform/object-store/files.ts';
import type { Database } from '../../platform/postgres.ts';
import { Archiver } from '../../scoring/archive/archiver.ts';
import { NO_ARCHIVE_METRICS } from '../../scoring/archive/context.ts';
import { currentEpoch, type Harness, TestClock } from './scoring-online-support.ts';

/** Copies all that was consumed of the log to the folder, as a server's archiver does. */
export async function archiveAll(db: Database, h: Harness, root: string, maxSegmentBytes: number): Promise<void> {
  const archiver = new Archiver(
    {
      db,
      epoch: await currentEpoch(db),
      clock: new TestClock(),
      eventLog: h.log,
      log: { info: () => {}, warn: () => {}, error: () => {} },
      store: await openFileObjectStore({ root }),
      policy: { segmentAgeMs: 0, keepMs: null, logKeepMs: null },
      metrics: NO_ARCHIVE_METRICS,
    },
    { maxSegmentBytes },
  );
  while (await archiver.archive(new AbortController().signal));
}
