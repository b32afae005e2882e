import type { FastifyReply, FastifyRequest } from 'fastify';
import { type TSchema, Type } from '../../../core/schema.ts';
import { SigningPolicy } from '../../../core/signing-policy.ts';
import { budgetName, SCHEDULING_NAME, SIGNING_POLICY_NAME } from '../../../pools/documents.ts';
import { BudgetFile, PoolFile } from '../../../pools/pool-file.ts';
import { SchedulingFile } from '../../../pools/scheduling-file.ts';
import { DivisionFile, GroupFile, PriorityClassFile } from '../../../pools/tree-files.ts';
import { mutate, page, put, read, readVersioned } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { demandedVersion, etagOf } from '../etag.ts';
import { HttpProblem, notFound } from '../problem.ts';
import { AnyView, listOf, pageQuery, replies, Slug, SlugParams } from '../schemas.ts';
import type { DocumentsOutcome, StoredKind } from '../services.ts';

const tags = ['capacity'];
const DryRun = Type.Optional(
  Type.Enum(['true', 'false'], { description: 'true: answer what would change, and change nothing' }),
);
const ChangeQuery = Type.Object({ dryRun: DryRun }, { additionalProperties: false });
const PageQuery = Type.Object(pageQuery, { additionalProperties: false });
const Currency = Type.Optional(
  Type.String({ pattern: '^[A-Z]{3}$', description: 'needed where the division has budgets in several' }),
);

/** A noun of the API whose members are documents. */
interface Noun {
  readonly path: string;
  readonly kind: StoredKind | 'Pool';
  readonly one: string;
  readonly many: string;
  readonly schema: TSchema;
}

const NOUNS: readonly Noun[] = [
  { path: 'groups', kind: 'Group', one: 'group', many: 'Groups of divisions by name', schema: GroupFile },
  { path: 'divisions', kind: 'Division', one: 'division', many: 'Divisions by name', schema: DivisionFile },
  {
    path: 'priority-classes',
    kind: 'PriorityClass',
    one: 'priority class',
    many: 'Priority classes by name',
    schema: PriorityClassFile,
  },
];

/** What operators declare: groups, divisions, priority classes, budgets, scheduling, who signs, and pools to write; one by one or together. */
export function documentRoutes(context: RouteContext): void {
  for (const noun of NOUNS) {
    listRoute(context, noun);
    const { kind, one, path } = noun;
    if (kind === 'Pool') continue;
    getRoute(context, `/v1/${path}/:name`, kind, one, SlugParams, (request) => nameOf(request));
    deleteRoute(context, `/v1/${path}/:name`, kind, one, SlugParams, (request) => nameOf(request));
    putRoute(context, `/v1/${path}/:name`, noun, SlugParams, 'name');
  }
  const pool: Noun = { path: 'pools', kind: 'Pool', one: 'pool', many: '', schema: PoolFile };
  putRoute(context, '/v1/pools/:name', pool, SlugParams, 'name');
  budgetRoutes(context);
  loneRoutes(context);
  applyRoute(context);
}

function nameOf(request: FastifyRequest): string {
  return (request.params as { name: string }).name;
}

function isDryRun(request: FastifyRequest): boolean {
  return (request.query as { dryRun?: string }).dryRun === 'true';
}

function listRoute(context: RouteContext, { path, kind, many }: Noun): void {
  if (kind === 'Pool') return;
  context.app.get(
    `/v1/${path}`,
    { schema: { summary: many, tags, querystring: PageQuery, response: replies({ 200: listOf(AnyView) }) } },
    (request) =>
      page(context, request, path, (tx, caller, at) => context.services.documents.list(tx, caller, kind, at)),
  );
}

type NameOf = (request: FastifyRequest) => string | Promise<string>;

function getRoute(
  context: RouteContext,
  url: string,
  kind: StoredKind,
  one: string,
  params: TSchema,
  name: NameOf,
  querystring?: TSchema,
): void {
  context.app.get(
    url,
    {
      schema: {
        summary: `One ${one}, with its document`,
        tags,
        params,
        ...(querystring === undefined ? {} : { querystring }),
        response: replies({ 200: AnyView }),
      },
    },
    async (request, reply) => {
      const wanted = await name(request);
      return readVersioned(context, request, reply, one, (tx, caller) =>
        context.services.documents.get(tx, caller, kind, wanted),
      );
    },
  );
}

function putRoute(context: RouteContext, url: string, noun: Noun, params: TSchema, field: string): void {
  context.app.put(
    url,
    {
      config: { needs: 'operate', versioned: true },
      schema: {
        summary: `Make or change a ${noun.one}`,
        tags,
        params,
        querystring: ChangeQuery,
        body: noun.schema,
        response: replies({ 200: AnyView, 201: AnyView }),
      },
    },
    (request, reply) => {
      const name = (request.params as Readonly<Record<string, string>>)[field] ?? '';
      return putDocument(context, request, reply, { field, name });
    },
  );
}

function putDocument(
  context: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  expected: { readonly field: string; readonly name: string } | undefined,
): Promise<FastifyReply> {
  const dryRun = isDryRun(request);
  return put(context, request, reply, (tx, caller, ifVersion) =>
    context.services.documents.put(tx, caller, request.body, expected, { ifVersion, dryRun }),
  );
}

function deleteRoute(
  context: RouteContext,
  url: string,
  kind: StoredKind,
  one: string,
  params: TSchema,
  name: NameOf,
  more: Readonly<Record<string, TSchema>> = {},
): void {
  context.app.delete(
    url,
    {
      config: { needs: 'operate', versioned: true },
      schema: {
        summary: `Remove a ${one} that nothing rests on; 409 in_use says what does`,
        tags,
        params,
        querystring: Type.Object({ dryRun: DryRun, ...more }, { additionalProperties: false }),
        response: replies({ 200: AnyView }),
      },
    },
    async (request) => {
      const wanted = await name(request);
      const options = { ifVersion: demandedVersion(request.headers), dryRun: isDryRun(request) };
      return read(context, request, async (tx, caller) => {
        const outcome = await context.services.documents.remove(tx, caller, kind, wanted, options);
        if (outcome.kind === 'not_found') throw notFound(one);
        if (outcome.kind === 'in_use')
          throw new HttpProblem(409, 'in_use', `the ${one} is in use`, { reasons: outcome.refusals });
        return doneOr(outcome);
      });
    },
  );
}

/** Thrown inside the transaction, so that nothing is left of a change that turned out stale. */
function doneOr(outcome: DocumentsOutcome) {
  if (outcome.kind === 'done') return outcome.view;
  const now = outcome.version === '' ? 'it does not exist' : `it is at ${etagOf(outcome.version)} now`;
  throw new HttpProblem(412, 'stale', `${outcome.key} was changed since you read it: ${now}; read it again`);
}

/** A budget is of a division and a currency; its path names the division. */
function budgetRoutes(context: RouteContext): void {
  const noun: Noun = {
    path: 'budgets',
    kind: 'Budget',
    one: 'budget',
    many: 'Budgets by division',
    schema: BudgetFile,
  };
  const params = Type.Object({ division: Slug }, { additionalProperties: false });
  const name: NameOf = async (request) => {
    const { division } = request.params as { division: string };
    const { currency } = request.query as { currency?: string };
    if (currency !== undefined) return budgetName(division, currency);
    const { items } = await read(context, request, (tx, caller) =>
      context.services.documents.list(tx, caller, 'Budget', { limit: MAX_CURRENCIES, after: `${division}-` }),
    );
    const own = items.filter((budget) => budget.division === division);
    if (own.length > 1)
      throw new HttpProblem(422, 'currency', `${division} has budgets in several currencies: add ?currency=`);
    return String(own[0]?.name ?? budgetName(division, 'USD'));
  };
  listRoute(context, noun);
  const query = Type.Object({ currency: Currency }, { additionalProperties: false });
  getRoute(context, '/v1/budgets/:division', 'Budget', 'budget', params, name, query);
  putRoute(context, '/v1/budgets/:division', noun, params, 'division');
  deleteRoute(context, '/v1/budgets/:division', 'Budget', 'budget', params, name, { currency: Currency });
}

/** Currencies of one division that are looked at. */
const MAX_CURRENCIES = 200;

/** Documents that a tenant has one of. */
function loneRoutes(context: RouteContext): void {
  loneRoute(context, '/v1/scheduling', {
    kind: 'Scheduling',
    one: 'scheduling',
    summary: 'Fair sharing, and the guards against preemption that thrashes',
    schema: SchedulingFile,
    name: SCHEDULING_NAME,
  });
  loneRoute(context, '/v1/signing-policy', {
    kind: 'SigningPolicy',
    one: 'signing policy',
    summary:
      'Who may sign, and how many what takes. The first one; the next is proposed and signed: POST /v1/proposals',
    schema: SigningPolicy,
    name: SIGNING_POLICY_NAME,
  });
}

function loneRoute(
  context: RouteContext,
  url: string,
  of: {
    readonly kind: StoredKind;
    readonly one: string;
    readonly summary: string;
    readonly schema: TSchema;
    readonly name: string;
  },
): void {
  const none = Type.Object({});
  getRoute(context, url, of.kind, of.one, none, () => of.name);
  deleteRoute(context, url, of.kind, of.one, none, () => of.name);
  context.app.put(
    url,
    {
      config: { needs: 'operate', versioned: true },
      schema: {
        summary: of.summary,
        tags,
        querystring: ChangeQuery,
        body: of.schema,
        response: replies({ 200: AnyView, 201: AnyView }),
      },
    },
    (request, reply) => putDocument(context, request, reply, undefined),
  );
}

const ApplyBody = Type.Object(
  {
    documents: Type.Array(Type.Object({}, { additionalProperties: true }), {
      minItems: 1,
      description: 'Group, Division, PriorityClass, Pool, Budget, Scheduling, SigningPolicy; in any order',
    }),
    versions: Type.Optional(
      Type.Record(Type.String({ maxLength: 128 }), Type.String({ maxLength: 64 }), {
        description: 'Kind/name → the version it must still have; "" where there must be none',
      }),
    ),
  },
  { additionalProperties: false },
);

function applyRoute(context: RouteContext): void {
  context.app.post(
    '/v1/apply',
    {
      config: { needs: 'operate', keyed: true },
      schema: {
        summary: 'Apply documents in the order of what they name, all or none',
        tags,
        querystring: ChangeQuery,
        body: ApplyBody,
        response: replies({ 200: AnyView }),
      },
    },
    async (request, reply) => {
      const { documents, versions = {} } = request.body as {
        documents: readonly unknown[];
        versions?: Readonly<Record<string, string>>;
      };
      const dryRun = isDryRun(request);
      const work = async (...[tx, caller]: Parameters<Parameters<typeof read>[2]>) =>
        doneOr(await context.services.documents.apply(tx, caller, documents, { versions, dryRun }));
      // A dry run changes nothing, so that repeating it is as good as keeping its answer.
      if (dryRun) return reply.send(await read(context, request, work));
      return mutate(context, request, reply, async (tx, caller) => ({ status: 200, body: await work(tx, caller) }));
    },
  );
}
