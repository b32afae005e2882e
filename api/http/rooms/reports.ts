import { randomBytes } from 'node:crypto';
import { canonicalBytes } from '../../../core/canonical.ts';
import { type Backlog, BacklogFull } from '../../../scoring/ingest/backlog.ts';
import {
  appendReport,
  appendReports,
  type ReportMessage,
  type ReportSource,
} from '../../../scoring/ingest/pack-reports.ts';
import { knownReport } from '../../../scoring/read/known-report.ts';
import type { ReportsService } from '../scoring-services.ts';
import type { Caller, View } from '../services.ts';
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
      const line = canonicalBytes(report.document);
      const at = await appendReport(ports.eventLog, line, sourceOf(caller, report.producer));
      ports.backlog.appended(line.length);
      const positions = positionsView(ports.backlog, new Map([[at.partition, at.offset]]));
      return { kind: 'accepted', view: { ...view, status: 'accepted', ...positions } };
    },
    appendStream: async (caller, body) => {
      const admit = (message: ReportMessage) => {
        const refusal = ports.backlog.refusal();
        if (refusal !== undefined) throw new BacklogFull(refusal);
        ports.backlog.appended(message.value?.length ?? 0);
      };
      const { last, ...counts } = await appendReports(ports.eventLog, body, sourceOf(caller), admit);
      return { status: 'accepted', ...counts, traceId: caller.traceId, ...positionsView(ports.backlog, last) };
    },
    refusal: () => ports.backlog.refusal(),
  };
}

/** Where the last of them stand in the log, and what is read before. */
function positionsView(backlog: Backlog, last: ReadonlyMap<number, bigint>): View {
  const { messages, ageMs } = backlog.state();
  return {
    positions: [...last].map(([partition, offset]) => ({
      partition,
      offset: offset.toString(),
      before: backlog.before({ partition, offset }),
    })),
    backlog: { messages, ageSeconds: Math.round(ageMs / 1000) },
  };
}
