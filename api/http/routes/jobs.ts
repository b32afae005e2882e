import { jobSpec } from '../../../core/job.ts';
import { JobFile } from '../../../core/job-file.ts';
import { RefusedInput, refuse } from '../../../core/refusal.ts';
import { parseRfc3339 } from '../../../core/rfc3339.ts';
import { Type } from '../../../core/schema.ts';
import { filterOf, found, mutate, page, read } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { callerOf, whileAnswering } from '../guard.ts';
import { MAX_CODE_UPLOAD_BYTES } from '../limits.ts';
import { HttpProblem } from '../problem.ts';
import { AnyView, IdParams, JobView, Literal, listOf, pageQuery, replies, text } from '../schemas.ts';
import { jobId, jobVerbRoutes } from './job-verbs.ts';

const tags = ['jobs'];

export function jobRoutes(context: RouteContext): void {
  submitRoutes(context);
  jobVerbRoutes(context);
  readRoutes(context);
  proofRoutes(context);
  codeRoutes(context);
}

function submitRoutes(context: RouteContext): void {
  const { app, services } = context;
  app.post(
    '/v1/jobs',
    {
      config: { needs: 'submit', keyed: true },
      schema: { summary: 'Book a job', tags, body: JobFile, response: replies({ 202: JobView }) },
    },
    async (request, reply) => {
      const spec = jobSpec(request.body);
      await services.jobs.prepare(callerOf(services, request), spec);
      return mutate(context, request, reply, async (tx, caller) => {
        const view = await services.jobs.submit(tx, caller, spec);
        return { status: 202, headers: { location: `/v1/jobs/${String(view.id)}` }, body: view };
      });
    },
  );
  app.post(
    '/v1/jobs::plan',
    {
      config: { needs: 'submit' },
      schema: {
        summary: 'What would happen if it were submitted now',
        tags,
        body: JobFile,
        response: replies({ 200: AnyView }),
      },
    },
    (request) => services.jobs.plan(callerOf(services, request), jobSpec(request.body)),
  );
}

const JobQuery = Type.Object(
  {
    ...pageQuery,
    state: Literal,
    division: Literal,
    model: Literal,
    name: Literal,
    since: Type.Optional(Type.String({ maxLength: 40, description: 'booked at or after this time, RFC 3339' })),
    live: Type.Optional(Type.Enum(['true'])),
  },
  { additionalProperties: false },
);

function readRoutes(context: RouteContext): void {
  const { app, services } = context;
  app.get(
    '/v1/jobs',
    {
      schema: {
        summary: 'Jobs, newest first',
        tags,
        querystring: JobQuery,
        response: replies({ 200: listOf(JobView) }),
      },
    },
    (request) => {
      const filter = filterOf(request, ['state', 'division', 'model', 'name', 'since', 'live']);
      if (filter.since !== undefined && parseRfc3339(filter.since) === undefined)
        throw new RefusedInput([
          refuse('time_format', 'since', 'is no RFC 3339 time with a zone', 'write 2026-11-26T08:00:00Z'),
        ]);
      return page(context, request, `jobs ${JSON.stringify(filter)}`, (tx, caller, at) =>
        services.jobs.list(tx, caller, filter, at),
      );
    },
  );
  app.get(
    '/v1/top',
    {
      schema: {
        summary: 'What pools and divisions have, use and wait for now',
        tags,
        response: replies({ 200: AnyView }),
      },
    },
    (request) => services.jobs.top(callerOf(services, request)),
  );
  app.get(
    '/v1/jobs/:id',
    { schema: { summary: 'One job', tags, params: IdParams, response: replies({ 200: JobView }) } },
    async (request) => {
      const id = jobId(request.params);
      return found(await read(context, request, (tx, caller) => services.jobs.get(tx, caller, id)), 'job');
    },
  );
  const parts = {
    artifacts: 'What it left, with sizes and SHA-256',
    cost: 'Held and spent, equal to the ledger',
    metrics: 'What it waited, ran, used and left, by attempt',
  } as const;
  for (const [part, summary] of Object.entries(parts) as [keyof typeof parts, string][]) {
    app.get(
      `/v1/jobs/:id/${part}`,
      { schema: { summary, tags, params: IdParams, response: replies({ 200: AnyView }) } },
      async (request) => {
        const id = jobId(request.params);
        return found(
          await read(context, request, (tx, caller) => services.jobs[part](tx, caller, id)),
          part === 'artifacts' ? 'job, or it left no artifacts yet' : 'job',
        );
      },
    );
  }
  app.get(
    '/v1/jobs/:id/why',
    {
      schema: {
        summary: 'Why it is where it is: every reason, with its mend',
        tags,
        params: IdParams,
        response: replies({ 200: AnyView }),
      },
    },
    async (request) => {
      const id = jobId(request.params);
      return found(await services.jobs.why(callerOf(services, request), id), 'job');
    },
  );
  app.get(
    '/v1/jobs/:id/events',
    {
      schema: {
        summary: 'Its audit events, in order',
        tags,
        params: IdParams,
        response: replies({ 200: listOf(AnyView) }),
      },
    },
    async (request) => {
      const id = jobId(request.params);
      return {
        items: found(await read(context, request, (tx, caller) => services.jobs.events(tx, caller, id)), 'job'),
      };
    },
  );
}

function proofRoutes({ app, services }: RouteContext): void {
  app.get(
    '/v1/jobs/:id/receipt',
    {
      schema: {
        summary: 'One file that a stranger can verify offline',
        tags,
        params: IdParams,
        response: text('application/jsonl'),
      },
    },
    async (request, reply) => {
      const id = jobId(request.params);
      const receipt = found(await services.jobs.receipt(callerOf(services, request), id), 'job');
      if (receipt.kind === 'not_yet')
        throw new HttpProblem(409, 'not_yet', receipt.text, { headers: { 'retry-after': '1' } });
      return reply
        .header('content-type', 'application/jsonl; charset=utf-8')
        .header('content-disposition', `attachment; filename="merit-receipt-${id}.jsonl"`)
        .send(Buffer.from(receipt.bytes));
    },
  );
  app.get(
    '/v1/jobs/:id/verification',
    {
      schema: {
        summary: 'Reads every stored artifact and log again and compares',
        tags,
        params: IdParams,
        response: replies({ 200: AnyView }),
      },
    },
    async (request, reply) => {
      const id = jobId(request.params);
      const away = whileAnswering(reply.raw);
      const verification = found(await services.jobs.verify(callerOf(services, request), id, away), 'job');
      if (verification === null)
        throw new HttpProblem(409, 'no_artifacts', 'this job has left no artifacts and no log that has ended (yet)');
      return reply.send(verification);
    },
  );
}

function codeRoutes({ app, services }: RouteContext): void {
  app.put(
    '/v1/code',
    {
      config: { needs: 'submit', streamedBody: true },
      schema: {
        summary: 'Store a job’s working directory (zip) by its content',
        tags,
        consumes: ['application/zip'],
        response: replies({ 200: Type.Object({ code: Type.String() }) }),
      },
    },
    async (request) => {
      if (request.body === undefined) throw new HttpProblem(400, 'body_required', 'send the zip as application/zip');
      return services.code.put(callerOf(services, request), await bounded(request.body as AsyncIterable<Uint8Array>));
    },
  );
}

async function bounded(body: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let total = 0;
  for await (const chunk of body) {
    total += chunk.length;
    if (total > MAX_CODE_UPLOAD_BYTES) {
      throw new HttpProblem(
        413,
        'body_too_large',
        'the working directory is larger than 100 MiB packed; move data out of it',
        { headers: { connection: 'close' } },
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
