import type { Json } from '../../core/canonical.ts';
import { NOTICE_TIMEOUT_MS, type Told, tellPeer } from '../notice.ts';
import type { PeerHttp } from '../peer-call.ts';
import { NOTICES_PATH, type Notice } from './wire.ts';

export interface AgentManager {
  /** Throws OperatingError where it was not told, or nobody knows. */
  tell(notice: Notice, signal: AbortSignal): Promise<Told>;
}

export function agentManager({
  http,
  timeoutMs = NOTICE_TIMEOUT_MS,
}: {
  readonly http: PeerHttp;
  readonly timeoutMs?: number;
}): AgentManager {
  const doing = 'telling Agent Manager of an allocation';
  return {
    tell: (notice, signal) =>
      tellPeer({ http, path: NOTICES_PATH, id: notice.id, body: notice as Json, doing, timeoutMs, signal }),
  };
}
