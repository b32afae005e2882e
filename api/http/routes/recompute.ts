import type { FastifyRequest } from 'fastify';
import { Type } from '../../../core/schema.ts';
import { MAX_SHARES } from '../../../scoring/batch/hour-share.ts';
import { found } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { callerOf } from '../guard.ts';
import { HttpProblem } from '../problem.ts';
import { AnyView, NameParams, replies } from '../schemas.ts';

const tags = ['scoring'];
const Claim = Type.String({
  maxLength: 31,
  pattern: '^jobs/[0-9a-hjkmnp-tv-z]{26}$',
  description: 'what claiming answered',
});

const ClaimBody = Type.Object(
  {
    hold: Type.Optional(
      Type.String({ maxLength: 20, description: 'workers leave it alone for so long (1m to 7d); default 6h' }),
    ),
  },
  { title: 'RecomputeClaim', additionalProperties: false },
);
const MergeBody = Type.Object(
  {
    claim: Claim,
    partition: Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }),
    jobs: Type.Array(Type.String({ minLength: 1, maxLength: 64 }), {
      minItems: 1,
      maxItems: MAX_SHARES,
      description: 'one a share; each left its panes among its outputs',
    }),
  },
  { title: 'RecomputeShares', additionalProperties: false },
);
const ReleaseBody = Type.Object({ claim: Claim }, { title: 'RecomputeRelease', additionalProperties: false });

/** Who adds to a history says what models scored, as who reports does, and of every producer. */
const HISTORY = { needs: 'operate', alsoNeeds: ['report'] } as const;

/** The history of a suite's new version, counted by jobs in place of workers. None needs an Idempotency-Key: each may be asked again. */
export function recomputeRoutes(context: RouteContext): void {
  const { app, services } = context;
  const path = '/v1/suites/:name/rollout';
  const nameOf = (params: unknown) => (params as { name: string }).name;
  const historian = (request: FastifyRequest) => {
    const caller = callerOf(services, request);
    if (caller.identity.producers === 'any') return caller;
    throw new HttpProblem(403, 'forbidden', 'a history is of every producer, and this identity may not report as all');
  };
  app.post(
    `${path}::claim`,
    {
      config: HISTORY,
      schema: {
        summary: 'Take what is left of the new version’s history from the workers, for jobs to count',
        description:
          'Answers what each partition’s jobs need to know. Claimed again, the claim before is of no use any more. Needs no Idempotency-Key.',
        tags,
        params: NameParams,
        body: ClaimBody,
        response: replies({ 200: AnyView }),
      },
    },
    async (request) => {
      const { hold } = request.body as Type.Static<typeof ClaimBody>;
      const caller = historian(request);
      return found(await services.rollouts.claimHistory(caller, nameOf(request.params), hold), 'rollout that runs');
    },
  );
  app.post(
    `${path}::merge`,
    {
      config: HISTORY,
      schema: {
        summary: 'Add what the jobs of one partition counted to the new version’s windows: all of it, once',
        description:
          'Asked again with the same jobs, it answers what was merged. 409 where the claim does not hold it: it ran out, or the rollout ended. 503 with Retry-After while this server merges another one. Needs no Idempotency-Key.',
        tags,
        params: NameParams,
        body: MergeBody,
        response: replies({ 200: AnyView }),
      },
    },
    async (request) => {
      const merged = await services.rollouts.mergeHistory(
        historian(request),
        nameOf(request.params),
        request.body as Type.Static<typeof MergeBody>,
      );
      if (merged !== undefined) return merged;
      const detail = 'the claim does not hold this partition: it ran out, or the rollout ended';
      throw new HttpProblem(409, 'not_held', detail);
    },
  );
  app.post(
    `${path}::release`,
    {
      config: HISTORY,
      schema: {
        summary: 'Give the workers back what a claim still holds; safe to repeat',
        tags,
        params: NameParams,
        body: ReleaseBody,
        response: replies({ 200: AnyView }),
      },
    },
    async (request) =>
      services.rollouts.releaseHistory(
        historian(request),
        nameOf(request.params),
        (request.body as Type.Static<typeof ReleaseBody>).claim,
      ),
  );
}
