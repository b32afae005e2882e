import { createHash } from 'node:crypto';
import type { Json } from '../../core/canonical.ts';
import { NOTICE_TIMEOUT_MS, type Told, tellPeer } from '../notice.ts';
import type { PeerHttp } from '../peer-call.ts';
import { type MonthReport, REPORTS_PATH } from './wire.ts';

/** Of a report's text in one call. */
const PART_CHARACTERS = 32 * 1024;

export interface FinanceReports {
  /**
   * Tells Finance what was spent in a month: `lines` is the whole FOCUS file, piece by piece. Told again, it is the same report. Throws OperatingError where
   * it was not told, or nobody knows.
   */
  push(
    of: Pick<MonthReport, 'tenant' | 'month' | 'totals'>,
    lines: AsyncIterable<string>,
    signal: AbortSignal,
  ): Promise<Told>;
}

export function financeReports({
  http,
  timeoutMs = NOTICE_TIMEOUT_MS,
}: {
  readonly http: PeerHttp;
  readonly timeoutMs?: number;
}): FinanceReports {
  const doing = 'telling Finance what a month cost';
  const tell = (path: string, id: string, body: Json, signal: AbortSignal) =>
    tellPeer({ http, path, id, body, doing, timeoutMs, signal });
  return {
    push: async ({ tenant, month, totals }, lines, signal) => {
      const id = `${tenant}-${month}`;
      const hash = createHash('sha256');
      let parts = 0;
      for await (const text of partsOf(lines)) {
        hash.update(text, 'utf8');
        const told = await tell(`${REPORTS_PATH}/${id}/parts/${++parts}`, id, { id, text }, signal);
        if (told.kind === 'refused') return told;
      }
      const report: MonthReport = {
        format: 'merit-month-report/1',
        id,
        tenant,
        month,
        parts,
        sha256: hash.digest('hex'),
        totals,
      };
      return tell(REPORTS_PATH, id, report as Json, signal);
    },
  };
}

/** Of about one size, whatever the pieces are; no character is cut in two. */
async function* partsOf(lines: AsyncIterable<string>): AsyncGenerator<string> {
  let text = '';
  for await (const piece of lines) {
    text += piece;
    while (text.length >= PART_CHARACTERS) {
      const end = isCut(text, PART_CHARACTERS) ? PART_CHARACTERS - 1 : PART_CHARACTERS;
      yield text.slice(0, end);
      text = text.slice(end);
    }
  }
  if (text.length > 0) yield text;
}

/** The character before `at` is the first half of one. */
function isCut(text: string, at: number): boolean {
  const code = text.charCodeAt(at - 1);
  return code >= 0xd800 && code <= 0xdbff;
}
