import { RefusedInput, refuse } from '../../../core/refusal.ts';
import { parseRfc3339 } from '../../../core/rfc3339.ts';
import { Type } from '../../../core/schema.ts';
import { found, page, read } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { callerOf } from '../guard.ts';
import { notFound } from '../problem.ts';
import { AnyView, Name, NameParams, pageQuery, replies } from '../schemas.ts';
import { ReportDocument, reportOf } from './reports.ts';

const tags = ['scoring'];

const Instant = Type.Optional(
  Type.String({ maxLength: 64, description: 'RFC 3339 with a zone: the last tick at or before it' }),
);

/** Scores as published, taken apart, over time, side by side, and of a report that was not sent. */
export function scoreRoutes(context: RouteContext): void {
  modelRoutes(context);
  boardRoutes(context);
  computeRoute(context);
}

const NO_SCORES = 'model, or it has no scores';

function modelRoutes(context: RouteContext): void {
  const { app, services } = context;
  const ScoreQuery = Type.Object(
    {
      ...pageQuery,
      suite: Type.Optional(Name),
      history: Type.Optional(
        Type.Enum(['true', 'false'], {
          description:
            'a page of all that was published in the suite, newest tick first, instead of the last of each suite',
        }),
      ),
    },
    { additionalProperties: false },
  );
  app.get(
    '/v1/scores/:name',
    {
      schema: {
        summary: 'The last published scores of a model, or all in one suite',
        tags,
        params: NameParams,
        querystring: ScoreQuery,
        response: replies({ 200: AnyView }),
      },
    },
    async (request) => {
      const { name } = request.params as { name: string };
      const query = request.query as { suite?: string; history?: string; limit?: number; cursor?: string };
      const { suite } = query;
      if (query.history !== 'true') {
        onlyWithHistory(query);
        return found(
          await read(context, request, (tx, caller) => services.scoring.scores(tx, caller, name, suite)),
          NO_SCORES,
        );
      }
      if (suite === undefined)
        throw new RefusedInput([refuse('required', 'suite', 'is missing', 'name the suite whose ticks you want')]);
      return page(context, request, `scores ${name} ${suite}`, async (tx, caller, at) => {
        const rows = await services.scoring.history(tx, caller, name, suite, at);
        if (rows.items.length === 0 && at.after === undefined) throw notFound(NO_SCORES);
        return rows;
      });
    },
  );
  const ExplainQuery = Type.Object({ suite: Type.Optional(Name), at: Instant }, { additionalProperties: false });
  app.get(
    '/v1/scores/:name/explain',
    {
      schema: {
        summary: 'Why a composite is what it is: contributions by window and metric that add up to it',
        tags,
        params: NameParams,
        querystring: ExplainQuery,
        response: replies({ 200: AnyView }),
      },
    },
    async (request) => {
      const { name } = request.params as { name: string };
      const { suite, at } = request.query as { suite?: string; at?: string };
      const filter = { suite, atMs: instantOf(at) };
      return found(
        await read(context, request, (tx, caller) => services.scoring.explain(tx, caller, name, filter)),
        NO_SCORES,
      );
    },
  );
}

/** The pages are those of the history. */
function onlyWithHistory(query: { readonly limit?: number; readonly cursor?: string }): void {
  const given = (['limit', 'cursor'] as const).filter((name) => query[name] !== undefined);
  if (given.length === 0) return;
  throw new RefusedInput(given.map((name) => refuse('value', name, 'pages through the history', 'add history=true')));
}

function boardRoutes(context: RouteContext): void {
  const { app, services } = context;
  const BoardQuery = Type.Object(
    {
      at: Instant,
      checksum: Type.Optional(
        Type.Enum(['true', 'false'], {
          description: 'with the checksum that a replay must give; reads all published rows',
        }),
      ),
    },
    { additionalProperties: false },
  );
  app.get(
    '/v1/leaderboards/:name',
    {
      schema: {
        summary: 'All models of a suite in rank order, at the last tick or an earlier one',
        tags,
        params: NameParams,
        querystring: BoardQuery,
        response: replies({ 200: AnyView }),
      },
    },
    async (request) => {
      const { name } = request.params as { name: string };
      const { at, checksum } = request.query as { at?: string; checksum?: string };
      const options = { atMs: instantOf(at), withChecksum: checksum === 'true' };
      return found(
        await read(context, request, (tx, caller) => services.scoring.leaderboard(tx, caller, name, options)),
        'suite',
      );
    },
  );
}

function computeRoute({ app, services }: RouteContext): void {
  app.post(
    '/v1/scores::compute',
    {
      schema: {
        summary: 'Score this report against the live windows now; nothing is stored',
        description:
          'T (`at`) is the suite’s watermark, or the report’s observedAt where that is later. The live windows are those that T ' +
          'falls into: each ends at the next multiple of its own step after T (1h: 1 min, 24h: 15 min, 7d: 1 h), and the tick at ' +
          'that end publishes the same bits if no other report comes. They hold all that the consumer has committed when the ' +
          'call comes, and the report; `before` is the same without it, ranks are among the last published board (`basis.tick`), ' +
          'and the contributions of `explanation` add up to the composite. The report is checked as a sent one is, but taken as new: whether its ' +
          'id was used before is not looked up. Needs no Idempotency-Key.',
        tags,
        body: ReportDocument,
        response: replies({ 200: AnyView }),
      },
    },
    (request) => services.scoring.compute(callerOf(services, request), reportOf(request.body)),
  );
}

function instantOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = parseRfc3339(text);
  if (ms !== undefined) return ms;
  throw new RefusedInput([
    refuse('time_format', 'at', 'is not an RFC 3339 date-time with a zone', 'write it like 2026-11-23T10:15:00Z'),
  ]);
}
