import { AMOUNT } from '../../../core/currency.ts';
import { isBookingId } from '../../../core/ids.ts';
import { MoneyRequest, moneySpec } from '../../../core/money-request.ts';
import { Type } from '../../../core/schema.ts';
import { filterOf, found, mutate, page, read } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { HttpProblem, notFound } from '../problem.ts';
import { AnyView, IdParams, JobView, Literal, listOf, pageQuery, replies } from '../schemas.ts';
import { proposedAnswer, SignatureBody, signatureOf, signedAnswer } from './proposals.ts';

const tags = ['allocations'];

/** An allocation is a booking by its public noun: the same rows as jobs, with their timeline and what people have to sign of it. */
export function allocationRoutes(context: RouteContext): void {
  listRoute(context);
  getRoutes(context);
  moneyRoutes(context);
  approveRoute(context);
  revokeRoute(context);
}

function allocationId(params: unknown): string {
  const { id } = params as { id: string };
  if (!isBookingId(id)) throw notFound('allocation');
  return id;
}

function listRoute(context: RouteContext): void {
  const AllocationQuery = Type.Object(
    { ...pageQuery, state: Literal, division: Literal, model: Literal, name: Literal },
    { additionalProperties: false },
  );
  context.app.get(
    '/v1/allocations',
    {
      schema: {
        summary: 'Allocations, newest first',
        tags,
        querystring: AllocationQuery,
        response: replies({ 200: listOf(JobView) }),
      },
    },
    (request) => {
      const filter = filterOf(request, ['state', 'division', 'model', 'name']);
      return page(context, request, `allocations ${JSON.stringify(filter)}`, (tx, caller, at) =>
        context.services.jobs.list(tx, caller, { ...filter, money: true }, at),
      );
    },
  );
}

function getRoutes(context: RouteContext): void {
  const { app, services } = context;
  app.get(
    '/v1/allocations/:id',
    {
      schema: {
        summary: 'One allocation; `proposals` tells what people have to sign of it, and who still has to',
        tags,
        params: IdParams,
        response: replies({ 200: JobView }),
      },
    },
    async (request) => {
      const id = allocationId(request.params);
      return read(context, request, async (tx, caller) => {
        const view = found(await services.jobs.get(tx, caller, id), 'allocation');
        return { ...view, proposals: await services.proposals.ofAllocation(tx, caller, id) };
      });
    },
  );
  app.get(
    '/v1/allocations/:id/timeline',
    {
      schema: {
        summary: 'Its transitions and the signatures under it, in order',
        tags,
        params: IdParams,
        response: replies({ 200: listOf(AnyView) }),
      },
    },
    async (request) => {
      const id = allocationId(request.params);
      return {
        items: found(await read(context, request, (tx, caller) => services.jobs.events(tx, caller, id)), 'allocation'),
      };
    },
  );
}

const CloseBody = Type.Object({ spent: Type.String(AMOUNT) }, { additionalProperties: false });

/** Money for a division or an agent, without a job. */
function moneyRoutes(context: RouteContext): void {
  const { app, services } = context;
  app.post(
    '/v1/allocations',
    {
      config: { needs: 'submit', keyed: true },
      schema: {
        summary:
          'Ask for money alone; the engine gets its answer from policy, from people where they have to sign it, and from Finance',
        tags,
        body: MoneyRequest,
        response: replies({ 202: JobView }),
      },
    },
    (request, reply) => {
      const spec = moneySpec(request.body);
      return mutate(context, request, reply, async (tx, caller) => {
        const view = await services.jobs.requestMoney(tx, caller, spec);
        return { status: 202, headers: { location: `/v1/allocations/${String(view.id)}` }, body: view };
      });
    },
  );
  app.post(
    '/v1/allocations/:id(^[^:/]+)::close',
    {
      config: { needs: 'submit', keyed: true },
      schema: {
        summary:
          'Say what was spent of money alone, which ends it: the rest goes back to the budget. Of what nobody says, all counts as spent',
        tags,
        params: IdParams,
        body: CloseBody,
        response: replies({ 200: JobView, 202: JobView }),
      },
    },
    (request, reply) => {
      const id = allocationId(request.params);
      const { spent } = request.body as { spent: string };
      return mutate(context, request, reply, async (tx, caller) => {
        const outcome = found(await services.jobs.closeMoney(tx, caller, id, spent), 'allocation');
        if (outcome.kind === 'refused') throw new HttpProblem(409, outcome.code, outcome.text);
        return { status: outcome.kind === 'closed' ? 202 : 200, body: outcome.view };
      });
    },
  );
}

function approveRoute(context: RouteContext): void {
  const { services } = context;
  context.app.post(
    '/v1/allocations/:id(^[^:/]+)::approve',
    {
      config: { needs: 'submit', keyed: true },
      schema: {
        summary:
          'One person’s signature under what a large allocation waits for; the last that is needed lets it go on',
        tags,
        params: IdParams,
        body: SignatureBody,
        response: replies({ 200: AnyView }),
      },
    },
    (request, reply) => {
      const id = allocationId(request.params);
      const given = signatureOf(request.body);
      return signedAnswer(context, request, reply, 'allocation that waits for signatures', async (tx, caller) => {
        const all = await services.proposals.ofAllocation(tx, caller, id);
        const proposal = all.find(({ action }) => action === 'allocation.apply');
        if (proposal === undefined) return undefined;
        return { id: String(proposal.id), verdict: 'approve', given };
      });
    },
  );
}

const RevokeBody = Type.Object(
  {
    reason: Type.String({ minLength: 1, maxLength: 500, description: 'for the people who sign it, and for the trail' }),
  },
  { additionalProperties: false },
);

function revokeRoute(context: RouteContext): void {
  context.app.post(
    '/v1/allocations/:id(^[^:/]+)::revoke',
    {
      config: { needs: 'operate', keyed: true },
      schema: {
        summary: 'Propose that an allocation ends at once; it does when enough people have signed the proposal',
        tags,
        params: IdParams,
        body: RevokeBody,
        response: replies({ 200: AnyView, 202: AnyView }),
      },
    },
    (request, reply) => {
      const id = allocationId(request.params);
      const { reason } = request.body as { reason: string };
      return mutate(context, request, reply, async (tx, caller) =>
        proposedAnswer(found(await context.services.proposals.revoke(tx, caller, id, reason), 'allocation')),
      );
    },
  );
}
