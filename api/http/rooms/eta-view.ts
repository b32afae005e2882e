import {
  ETA_TOLERANCE_SECONDS,
  ETA_TOLERANCE_SHARE,
  type EtaRecord,
  MAX_ETA_RECORDS,
} from '../../../scheduler/apply/eta-record.sql.ts';
import type { View } from '../services.ts';

/** How often the start times that were told held. `heldShare` null: nothing that was told one has started yet. */
export function etaView(pool: string, record: EtaRecord | undefined): View {
  const { told = 0, untold = 0, held = 0, notLater = 0, medianErrorSeconds = null } = record ?? {};
  return {
    pool,
    told,
    untold,
    held,
    heldShare: told === 0 ? null : share(held / told),
    notLaterShare: told === 0 ? null : share(notLater / told),
    medianErrorSeconds: medianErrorSeconds === null ? null : Math.round(medianErrorSeconds * 10) / 10,
    since: record === undefined ? null : new Date(record.sinceMs).toISOString(),
    tolerance: { seconds: ETA_TOLERANCE_SECONDS, share: ETA_TOLERANCE_SHARE },
    kept: MAX_ETA_RECORDS,
  };
}

function share(part: number): number {
  return Math.round(part * 1000) / 1000;
}
