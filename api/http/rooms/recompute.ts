import { createHash, randomBytes } from 'node:crypto';
import { durationMs } from '../../../core/duration.ts';
import { ulid } from '../../../core/ids.ts';
import { OperatingError } from '../../../core/operating-error.ts';
import { RefusedInput, refuse } from '../../../core/refusal.ts';
import { bookingsById } from '../../../scheduler/apply/booking-store.ts';
import { generationOf } from '../../../scoring/archive/generation.ts';
import { giveBackRollout, handOver } from '../../../scoring/batch/handover.sql.ts';
import { mergeShares, type ShareOfJob } from '../../../scoring/batch/merge-shares.ts';
import { PANES_FILE, readPaneFile } from '../../../scoring/batch/pane-file.ts';
import { REPORTS_TOPIC } from '../../../scoring/ingest/report-log.ts';
import type { RolloutsService } from '../scoring-services.ts';
import type { Caller, View } from '../services.ts';
import { type RoomPorts, requesterOf } from './base.ts';
import { type ClaimedShare, requireClaimed } from './claimed-jobs.ts';
import { fileOf } from './job-artifacts.ts';

const DEFAULT_HOLD = '6h';
const MIN_HOLD_MS = 60_000;
const MAX_HOLD_MS = 7 * 86_400_000;
/** Of all shares of a partition together, which are in memory at once: those of one merge of a process. */
const MAX_MERGED_BYTES = 512 * 1024 * 1024;

type HistoryPorts = Pick<RoomPorts, 'db' | 'store' | 'eventLog'>;

/** What jobs are given of a version's history, and what becomes of what they leave. */
export function historyOf(
  ports: HistoryPorts,
): Pick<RolloutsService, 'claimHistory' | 'mergeHistory' | 'releaseHistory'> {
  const { db, eventLog } = ports;
  let isMerging = false;
  return {
    claimHistory: async (caller, suite, hold = DEFAULT_HOLD) => {
      const holdMs = durationMs(hold);
      if (holdMs === undefined || holdMs < MIN_HOLD_MS || holdMs > MAX_HOLD_MS)
        throw new RefusedInput([refuse('duration', 'hold', 'is no time from 1m to 7d', 'write 6h')]);
      const claim = `jobs/${ulid(caller.nowMs, randomBytes(10))}`;
      const generation = await generationOf(db, eventLog, REPORTS_TOPIC);
      const asked = { tenant: caller.identity.tenant, suite, claim, holdMs, generation };
      const shards = await db.asEngine((tx) => handOver(tx, asked));
      return shards === undefined ? undefined : ({ claim, shards } as unknown as View);
    },
    mergeHistory: async (caller, suite, { claim, partition, jobs }) => {
      if (isMerging) throw new OperatingError('capacity', 'safe', 'merging a history: another one is merged now');
      isMerging = true;
      try {
        const shares = await sharesOf(ports, caller, claim, jobs);
        const asked = { suite, claim, partition, shares };
        const merged = await mergeShares(db, requesterOf(caller), asked);
        return merged === undefined ? undefined : (merged as unknown as View);
      } finally {
        isMerging = false;
      }
    },
    releaseHistory: async (caller, suite, claim) => ({
      partitions: await db.asEngine((tx) => giveBackRollout(tx, caller.identity.tenant, suite, claim)),
    }),
  };
}

/** What the jobs left, held to their manifests and to how they were booked. Throws RefusedInput. */
async function sharesOf(
  { db, store }: HistoryPorts,
  caller: Caller,
  claim: string,
  jobs: readonly string[],
): Promise<ShareOfJob[]> {
  const { tenant, principal } = caller.identity;
  const shares: ShareOfJob[] = [];
  let bytes = 0;
  for (const job of jobs) {
    // Under row-level security: another tenant's job is none.
    const file = await db.asTenant(tenant, (tx) => fileOf(tx, job, PANES_FILE, undefined));
    if (file === undefined)
      throw refused(`name ${job}, which left no ${PANES_FILE}`, 'name jobs that ended well: merit ps');
    bytes += file.size;
    if (bytes > MAX_MERGED_BYTES)
      throw refused(`left more than ${MAX_MERGED_BYTES / 1024 ** 2} MiB together`, 'let the recompute workers do it');
    const content = await contentOf(store, file);
    shares.push({ ...(await readPaneFile(`${job}/${PANES_FILE}`, content)), job, sha256: file.sha256 });
  }
  const bookings = await db.asTenant(tenant, (tx) => bookingsById(tx, jobs));
  const claimed = shares.map(
    (share): ClaimedShare => ({ share, booking: bookings.find(({ bookingId }) => bookingId === share.job) }),
  );
  requireClaimed(claim, principal, claimed);
  return shares;
}

async function contentOf(
  store: RoomPorts['store'],
  { objectKey, size, sha256 }: { readonly objectKey: string; readonly size: number; readonly sha256: string },
): Promise<Buffer> {
  const stream = await store.get(objectKey);
  const parts: Buffer[] = [];
  const hash = createHash('sha256');
  if (stream !== undefined)
    for await (const part of stream) {
      parts.push(part as Buffer);
      hash.update(part as Buffer);
    }
  const content = Buffer.concat(parts);
  if (content.length === size && hash.digest('hex') === sha256) return content;
  throw new OperatingError('storage', 'never', `reading ${objectKey}`, {
    cause: 'it is not what its manifest says',
    mend: 'restore it from a copy; `merit jobs verify` tells what differs',
  });
}

function refused(problem: string, mend: string): RefusedInput {
  return new RefusedInput([refuse('jobs', 'jobs', problem, mend)]);
}
