import { agentManager } from '../../peers/agent-manager/client.ts';
import { kernel } from '../../peers/kernel/client.ts';
import type { PeerHttp } from '../../peers/peer-call.ts';
import { reasoningGraph } from '../../peers/reasoning-graph/client.ts';
import type { Metrics } from '../../platform/metrics.ts';
import {
  agentNotices,
  explanations,
  humanActions,
  NOTICE_OUTCOMES,
  NOTICE_PEERS,
  type NoticeParts,
  type NoticeWatch,
  runNotices,
} from '../../scheduler/notices/push-trail.ts';
import type { LeaderLoop } from './engine.ts';

/** Peers that are told what happened; undefined: it is not there. */
export interface ToldPeers {
  readonly agentManager: PeerHttp | undefined;
  readonly reasoningGraph: PeerHttp | undefined;
  /** It is also asked what people may do. */
  readonly kernel: PeerHttp | undefined;
}

/** A loop for each of them that is there, wherever this process leads. */
export function noticeLoops(parts: Omit<NoticeParts, 'epoch'>, peers: ToldPeers): readonly LeaderLoop[] {
  const tellers = [
    ...(peers.agentManager === undefined ? [] : [agentNotices(parts.db, agentManager({ http: peers.agentManager }))]),
    ...(peers.reasoningGraph === undefined ? [] : [explanations(reasoningGraph({ http: peers.reasoningGraph }))]),
    ...(peers.kernel === undefined ? [] : [humanActions(kernel({ http: peers.kernel }))]),
  ];
  return tellers.map((teller) => ({
    name: `notices of ${teller.peer}`,
    run: (epoch, signal) => runNotices({ ...parts, epoch }, teller, signal),
  }));
}

export function noticeMetrics(metrics: Metrics): NoticeWatch {
  const told = metrics.counter('merit_peer_notices_total', 'What came of telling peers what happened', {
    peer: NOTICE_PEERS,
    outcome: NOTICE_OUTCOMES,
  });
  const waiting = metrics.gauge(
    'merit_peer_notices_waiting_events',
    'Events of the trail that a peer was not told of yet',
    {
      peer: NOTICE_PEERS,
    },
  );
  return {
    told: (peer, outcome) => told({ peer, outcome }),
    waiting: (peer, events) => waiting({ peer }, events),
  };
}
