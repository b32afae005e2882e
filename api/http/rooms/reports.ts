import { randomBytes } from 'node:crypto';
import { canonicalBytes } from '../../../core/canonical.ts';
import { appendReports, type ReportSource, reportMessage } from '../../../scoring/ingest/pack-reports.ts';
import { knownReport } from '../../../scoring/read/known-report.ts';
import type { Caller, ReportsService } from '../services.ts';
import type { RoomPorts } from './base.ts';

/** The sender that every line must name; the route holds a batch to identities with exactly one. */
function sourceOf(caller: Caller, producer = caller.identity.producers[0]): ReportSource {
  const { producers } = caller.identity;
  return {
    tenant: caller.identity.tenant,
    producer: producers === 'any' ? undefined : producer,
    traceparent: `00-${caller.traceId}-${randomBytes(8).toString('hex')}-01`,
  };
}

export function reportsOf(ports: RoomPorts): ReportsService {
  return {
    append: async (caller, report) => {
      const { tenant } = caller.identity;
      const view = { producer: report.producer, reportId: report.reportId, traceId: caller.traceId };
      const known = await ports.db.asTenant(tenant, (tx) => knownReport(tx, tenant, report));
      if (known === 'same') return { kind: 'duplicate', view: { ...view, status: 'duplicate' } };
      if (known === 'other') return { kind: 'conflict', view };
      // On one line, as the log takes it; the canonical form keeps what the report's digest is over.
      await ports.eventLog.append(reportMessage(canonicalBytes(report.document), sourceOf(caller, report.producer)));
      return { kind: 'accepted', view: { ...view, status: 'accepted' } };
    },
    appendStream: async (caller, body) => {
      const { messages, bytes } = await appendReports(ports.eventLog, body, sourceOf(caller));
      return { status: 'accepted', messages, bytes, traceId: caller.traceId };
    },
  };
}
