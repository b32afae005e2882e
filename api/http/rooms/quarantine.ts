import { MAX_REDRIVEN, readPlace } from '../../../scoring/ingest/quarantine-place.ts';
import { redriveFound, redriveNamed } from '../../../scoring/ingest/redrive.sql.ts';
import { getQuarantined, listQuarantine } from '../../../scoring/read/quarantine.ts';
import type { QuarantineService } from '../scoring-services.ts';
import { requesterOf } from './base.ts';

/** Lines that were set aside: looked at, and sent again. */
export const QUARANTINE: QuarantineService = {
  list: async (tx, caller, filter, { limit, after }) => {
    const lines = await listQuarantine(tx, caller.identity.tenant, filter, { limit, after });
    const last = lines.length === limit ? lines.at(-1)?.key : undefined;
    return { items: lines.map(({ key: _, ...line }) => ({ ...line })), last };
  },
  get: async (tx, caller, id) => {
    const place = readPlace(id);
    const line = place === undefined ? undefined : await getQuarantined(tx, caller.identity.tenant, place);
    if (line === undefined) return undefined;
    const { raw, ...view } = line;
    return { ...view, cut: raw.length < line.size, rawBase64: raw.toString('base64') };
  },
  redrive: async (tx, caller, { ids, filter = {}, limit = MAX_REDRIVEN, dryRun = false }) => {
    const by = requesterOf(caller);
    const done =
      ids === undefined ? await redriveFound(tx, by, filter, limit, dryRun) : await redriveNamed(tx, by, ids, dryRun);
    return { ...done, dryRun };
  },
};
