import { durationMs } from '../../../core/duration.ts';
import { isBookingId } from '../../../core/ids.ts';
import { MAX_LEASE_MS } from '../../../core/job.ts';
import { RefusedInput, refuse } from '../../../core/refusal.ts';
import { Type } from '../../../core/schema.ts';
import { found, mutate } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { HttpProblem, notFound } from '../problem.ts';
import { IdParams, JobView, replies } from '../schemas.ts';

const tags = ['jobs'];

/** The job id of a path; what is malformed does not exist. */
export function jobId(params: unknown): string {
  const { id } = params as { id: string };
  if (!isBookingId(id)) throw notFound('job');
  return id;
}

/** What is asked of a job that was booked. */
export function jobVerbRoutes(context: RouteContext): void {
  cancelRoute(context);
  holdRoutes(context);
  retryRoute(context);
  extendRoute(context);
}

function cancelRoute(context: RouteContext): void {
  const { app, services } = context;
  app.post(
    '/v1/jobs/:id(^[^:/]+)::cancel',
    {
      config: { needs: 'submit', keyed: true },
      schema: {
        summary: 'Ask for a job’s end; 200 where it has ended already',
        tags,
        params: IdParams,
        response: replies({ 200: JobView, 202: JobView }),
      },
    },
    (request, reply) => {
      const id = jobId(request.params);
      return mutate(context, request, reply, async (tx, caller) => {
        const outcome = found(await services.jobs.cancel(tx, caller, id), 'job');
        if (outcome.kind === 'leaving')
          throw new HttpProblem(409, 'leaving', 'it is on its way back to the queue: ask again in a moment');
        return {
          status: outcome.kind === 'ended' ? 200 : 202,
          headers: { location: `/v1/jobs/${id}` },
          body: outcome.view,
        };
      });
    },
  );
}

function holdRoutes(context: RouteContext): void {
  const verbs = {
    hold: ['hold', 'Keep a waiting job back'],
    release: ['let_go', 'Let a job that was held go on'],
  } as const;
  for (const [verb, [wanted, summary]] of Object.entries(verbs)) {
    context.app.post(
      `/v1/jobs/:id(^[^:/]+)::${verb}`,
      {
        config: { needs: 'submit', keyed: true },
        schema: { summary, tags, params: IdParams, response: replies({ 200: JobView }) },
      },
      (request, reply) => {
        const id = jobId(request.params);
        return mutate(context, request, reply, async (tx, caller) => {
          const outcome = found(await context.services.jobs.hold(tx, caller, id, wanted), 'job');
          if (outcome.kind === 'not_waiting')
            throw new HttpProblem(
              409,
              'not_waiting',
              `the job is ${String(outcome.view.state)}: only what waits can be held`,
            );
          return { status: 200, body: outcome.view };
        });
      },
    );
  }
}

const RetryQuery = Type.Object(
  { force: Type.Optional(Type.Enum(['true', 'false'], { description: 'also where it ended well' })) },
  { additionalProperties: false },
);

function retryRoute(context: RouteContext): void {
  context.app.post(
    '/v1/jobs/:id(^[^:/]+)::retry',
    {
      config: { needs: 'submit', keyed: true },
      schema: {
        summary: 'Book a job that has ended once more, with its file and code as they were',
        tags,
        params: IdParams,
        querystring: RetryQuery,
        response: replies({ 202: JobView }),
      },
    },
    (request, reply) => {
      const id = jobId(request.params);
      const { force } = request.query as { force?: string };
      return mutate(context, request, reply, async (tx, caller) => {
        const outcome = found(await context.services.jobs.retry(tx, caller, id, force === 'true'), 'job');
        if (outcome.kind === 'refused') throw new HttpProblem(409, outcome.code, outcome.text);
        return { status: 202, headers: { location: `/v1/jobs/${String(outcome.view.id)}` }, body: outcome.view };
      });
    },
  );
}

const ExtendBody = Type.Object(
  { by: Type.String({ maxLength: 16, description: 'how much longer than it is now: 30m, 2h, 1d' }) },
  { additionalProperties: false },
);

/** Less is over before it is granted. */
const MIN_EXTENSION_MS = 10_000;

function extendRoute(context: RouteContext): void {
  context.app.post(
    '/v1/jobs/:id(^[^:/]+)::extend',
    {
      config: { needs: 'submit', keyed: true },
      schema: {
        summary: 'Ask for a longer lease of a job that runs; its `extensions` tell what policy and Finance say',
        tags,
        params: IdParams,
        body: ExtendBody,
        response: replies({ 202: JobView }),
      },
    },
    (request, reply) => {
      const id = jobId(request.params);
      const byMs = extensionMs((request.body as { by: string }).by);
      return mutate(context, request, reply, async (tx, caller) => {
        const outcome = found(await context.services.jobs.extend(tx, caller, id, byMs), 'job');
        if (outcome.kind === 'refused') throw new HttpProblem(409, outcome.code, outcome.text);
        return { status: 202, headers: { location: `/v1/jobs/${id}` }, body: outcome.view };
      });
    },
  );
}

function extensionMs(by: string): number {
  const ms = durationMs(by);
  if (ms === undefined) throw new RefusedInput([refuse('duration', 'by', 'is not a duration', 'write 30m, 2h or 1d')]);
  if (ms < MIN_EXTENSION_MS || ms > MAX_LEASE_MS)
    throw new RefusedInput([refuse('range', 'by', 'must be between 10s and 30d', 'change it')]);
  return ms;
}
