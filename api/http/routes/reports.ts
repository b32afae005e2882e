import { type EvalReport, readEvalReport } from '../../../core/eval-report.ts';
import { isJsonObject } from '../../../core/json.ts';
import { RefusedInput, refuse } from '../../../core/refusal.ts';
import { Type } from '../../../core/schema.ts';
import { BacklogFull } from '../../../scoring/ingest/backlog.ts';
import { rawBodies } from '../body.ts';
import type { RouteContext } from '../context.ts';
import { callerOf } from '../guard.ts';
import { HttpProblem } from '../problem.ts';
import { AnyView, replies } from '../schemas.ts';
import type { Identity } from '../services.ts';

const tags = ['reports'];

/** For the published document; core/eval-report checks each report itself, since unknown members are kept. */
export const ReportDocument = Type.Object(
  {
    schemaVersion: Type.Unknown({ description: '1' }),
    reportId: Type.Unknown({
      description: '1 to 64 of [A-Za-z0-9._-]; with the producer it is the key: a repetition has no effect',
    }),
    producer: Type.Unknown(),
    model: Type.Unknown(),
    suite: Type.Unknown(),
    observedAt: Type.Unknown({ description: 'RFC 3339 with a zone' }),
    sampleSize: Type.Unknown({ description: 'integer ≥ 1; default 1' }),
    metrics: Type.Unknown({ description: '1 to 256 numbers by name' }),
  },
  { title: 'EvalReport', additionalProperties: true, required: [] },
);

/** Reports need no Idempotency-Key: (producer, reportId) is theirs. */
export function reportRoutes({ app, services }: RouteContext): void {
  /** Before the body is read: what cannot be taken is not sent for nothing. */
  const onRequest = async () => {
    const refusal = services.reports.refusal();
    if (refusal !== undefined) throw new BacklogFull(refusal);
  };
  app.post(
    '/v1/eval-reports',
    {
      config: { needs: 'report' },
      onRequest,
      schema: {
        summary: 'One evaluation report; 202 once it is durable, with its place in the log and what is read before it',
        tags,
        body: ReportDocument,
        response: replies({ 202: AnyView, 200: AnyView }),
      },
    },
    async (request, reply) => {
      const caller = callerOf(services, request);
      const report = reportOf(request.body);
      mayReportAs(caller.identity, report.producer);
      const answer = await services.reports.append(caller, report);
      switch (answer.kind) {
        case 'accepted':
          return reply.code(202).send(answer.view);
        case 'duplicate':
          return reply.code(200).send(answer.view);
        case 'conflict':
          throw new HttpProblem(
            409,
            'report_conflict',
            'another report with this producer and reportId came before; the first one stays',
          );
      }
    },
  );
  app.post(
    '/v1/eval-reports::batch',
    {
      config: { needs: 'report', streamedBody: true },
      onRequest,
      schema: {
        summary: 'NDJSON of any size, plain or with one gzip; 202 once it is durable, bad lines are quarantined',
        tags,
        consumes: ['application/x-ndjson'],
        response: replies({ 202: AnyView }),
      },
    },
    async (request, reply) => {
      if (request.body === undefined)
        throw new HttpProblem(400, 'body_required', 'send NDJSON as application/x-ndjson');
      onlyProducer(callerOf(services, request).identity);
      const view = await services.reports.appendStream(
        callerOf(services, request),
        request.body as AsyncIterable<Uint8Array>,
      );
      return reply.code(202).send(view);
    },
  );
}

/** The report in a body, checked by its own limits. Throws HttpProblem, RefusedInput. */
export function reportOf(body: unknown): EvalReport {
  const bytes = isJsonObject(body) ? rawBodies.get(body) : undefined;
  if (bytes === undefined) throw new HttpProblem(400, 'not_an_object', 'send one report as a JSON object');
  const reading = readEvalReport(bytes);
  if (reading.ok) return reading.report;
  const { code, field, problem } = reading.quarantine;
  throw new RefusedInput([refuse(code, field, problem, 'mend the report and send it again')]);
}

function mayReportAs(identity: Identity, producer: string): void {
  if (identity.producers === 'any' || identity.producers.includes(producer)) return;
  throw new HttpProblem(403, 'forbidden', 'this identity may not report as that producer');
}

/** A batch is checked line by line against one producer, when it is consumed. */
function onlyProducer(identity: Identity): void {
  if (identity.producers === 'any' || identity.producers.length === 1) return;
  throw new HttpProblem(403, 'forbidden', 'a batch needs an identity with exactly one producer');
}
