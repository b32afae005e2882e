import type { Json } from '../../core/canonical.ts';
import { NOTICE_TIMEOUT_MS, type Told, tellPeer } from '../notice.ts';
import type { PeerHttp } from '../peer-call.ts';
import { EXPLANATIONS_PATH, type Explanation } from './wire.ts';

export interface ReasoningGraph {
  /** Throws OperatingError where it was not told, or nobody knows. */
  explain(explanation: Explanation, signal: AbortSignal): Promise<Told>;
}

export function reasoningGraph({
  http,
  timeoutMs = NOTICE_TIMEOUT_MS,
}: {
  readonly http: PeerHttp;
  readonly timeoutMs?: number;
}): ReasoningGraph {
  const doing = 'explaining something to Reasoning Graph';
  return {
    explain: (one, signal) =>
      tellPeer({ http, path: EXPLANATIONS_PATH, id: one.id, body: one as Json, doing, timeoutMs, signal }),
  };
}
