import { APPROVAL_ACTIONS, SIGNATURE_FAULTS } from '../../core/approval.ts';
import type { Metrics } from '../../platform/metrics.ts';
import { MOVED_ON } from '../../scheduler/signatures/proposal.ts';
import type { WaitingMetrics } from '../../scheduler/signatures/watch.sql.ts';
import type { SigningMetrics } from './rooms/proposals.ts';

/** What waits for people, what they signed, and what was refused of it. */
export function signingMetrics(metrics: Metrics): SigningMetrics & WaitingMetrics {
  const waiting = metrics.gauge('merit_signatures_waiting', 'Proposals that wait for signatures', {
    action: APPROVAL_ACTIONS,
  });
  const oldest = metrics.gauge(
    'merit_signatures_oldest_seconds',
    'For how long the oldest of them waits; 0: none does',
    {
      action: APPROVAL_ACTIONS,
    },
  );
  const signed = metrics.counter('merit_signatures_total', 'Signatures that were taken', {
    action: APPROVAL_ACTIONS,
    verdict: ['approve', 'reject'],
  });
  const refused = metrics.counter('merit_signatures_refused_total', 'Signatures that were refused, by why', {
    code: [...Object.keys(SIGNATURE_FAULTS), ...MOVED_ON],
  });
  return {
    waiting: (action, now) => {
      waiting({ action }, now.count);
      oldest({ action }, now.oldestSeconds);
    },
    signed: (action, verdict) => signed({ action, verdict }),
    refused: (code) => refused({ code }),
  };
}
