import { EXTENSION_EVENTS } from '../../core/extension.ts';
import { attemptKey, isBookingId } from '../../core/ids.ts';
import type { Findings } from './findings.ts';
import { isCount, isObject, type JsonObject } from './lines.ts';
import { bodiesOf, EVIDENCE_FORMAT } from './receipt-evidence.ts';
import type { Receipt, ReceiptEvent } from './receipt-parts.ts';

/**
 * What SentinelNet was asked, held to what was booked: of which attempt, for how long, and as one of how many. An answer about another attempt, or about less, is
 * true and allows nothing of this.
 */
export function checkAsked(receipt: Receipt, findings: Findings): void {
  const spec = receipt.story[0]?.data.spec;
  // Told with the story, where they are wrong.
  if (!isObject(spec) || !isBookingId(receipt.booking)) return;
  const tasks = isObject(spec.array) ? spec.array.count : undefined;
  let leaseMs = msOf(spec.leaseMs);
  let moreMs = 0;
  let attempt = 1;
  for (const event of receipt.story) {
    const { type, data, line, seq } = event;
    const tell = (field: string, problem: string) => findings.tampered(line, `event.data.${field}`, problem, seq);
    if (!isOfExtension(type)) attempt = Number(data.attempt ?? attempt);
    if (type === EXTENSION_EVENTS.ask_extension) moreMs = msOf(data.byMs);
    const key = attemptKey(receipt.booking, attempt);
    const id = isOfExtension(type) ? `${key}-x${String(data.extension)}` : key;
    for (const { requestId, ...request } of requestsOf(receipt, event)) {
      if (requestId !== id) tell('evidence', `names a policy answer to ${String(requestId)}, which is not ${id}`);
      const wholeMs = isOfExtension(type) ? leaseMs + moreMs : leaseMs;
      if (request.leaseMs !== wholeMs) tell('evidence', `names a policy answer about another lease than ${wholeMs} ms`);
      if (request.tasks !== tasks) tell('evidence', `names a policy answer about other tasks than ${tasks ?? 'none'}`);
    }
    if (type !== EXTENSION_EVENTS.grant_extension) continue;
    if (data.byMs !== moreMs) tell('byMs', 'is not what was asked for');
    // The attempts after this one have it too.
    leaseMs += moreMs;
  }
}

const OF_EXTENSION: ReadonlySet<string> = new Set(Object.values(EXTENSION_EVENTS));

function isOfExtension(type: string): boolean {
  return OF_EXTENSION.has(type);
}

function msOf(value: unknown): number {
  return isCount(value) ? value : 0;
}

function requestsOf(receipt: Receipt, event: ReceiptEvent): readonly JsonObject[] {
  return bodiesOf(receipt, event).flatMap(({ format, peer, request }) =>
    format === EVIDENCE_FORMAT && peer === 'sentinelnet' && isObject(request) && request.kind === 'allocation'
      ? [request]
      : [],
  );
}
