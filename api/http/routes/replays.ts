import { Type } from '../../../core/schema.ts';
import { found, mutate, page, read } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { AnyView, IdParams, listOf, pageQuery, replies } from '../schemas.ts';
import type { ReplayRequest } from '../scoring-services.ts';

const tags = ['scoring'];

const Bound = Type.Optional(
  Type.String({ maxLength: 40, description: 'a time in event time (RFC 3339), or an offset of every partition' }),
);

const ReplayBody = Type.Object(
  {
    into: Type.Enum(['shadow'], { description: 'where what comes of it goes: never to what is live' }),
    from: Bound,
    to: Bound,
    source: Type.Optional(
      Type.Enum(['archive', 'log'], { description: 'where messages are read that are in both; default: archive' }),
    ),
    rate: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000_000, description: 'reports a second at most' })),
    suite: Type.Optional(
      Type.Object(
        {},
        { title: 'Suite', additionalProperties: true, description: 'in place of the versions of it that were live' },
      ),
    ),
  },
  { title: 'Replay', additionalProperties: false },
);

/** Reports read again: what the scores and decisions come to, held against what was live. */
export function replayRoutes(context: RouteContext): void {
  const { app, services } = context;
  const idOf = (params: unknown) => (params as { id: string }).id;
  app.get(
    '/v1/replays',
    {
      schema: {
        summary: 'Replays, newest first',
        tags,
        querystring: Type.Object(pageQuery, { additionalProperties: false }),
        response: replies({ 200: listOf(AnyView) }),
      },
    },
    (request) => page(context, request, 'replays', (tx, caller, at) => services.replays.list(tx, caller, at)),
  );
  app.post(
    '/v1/replays',
    {
      config: { needs: 'operate', keyed: true },
      schema: {
        summary:
          'Read reports again into tables of their own; one asked for in the same words that has not come to its end goes on',
        tags,
        body: ReplayBody,
        response: replies({ 200: AnyView, 202: AnyView }),
      },
    },
    (request, reply) =>
      mutate(context, request, reply, async (tx, caller) => {
        const { kind, view } = await services.replays.start(tx, caller, request.body as ReplayRequest);
        return { status: kind === 'created' ? 202 : 200, body: view };
      }),
  );
  for (const [path, summary, get] of [
    ['/v1/replays/:id', 'How far a replay is, and how it ended', services.replays.get],
    [
      '/v1/replays/:id/diff',
      'Scores, ranks and decisions that differ from what was live, and why',
      services.replays.diff,
    ],
    [
      '/v1/replays/:id/verify',
      'The replay proof: checksums and inputDigest of what was live and of the replay, or the first thing that differs',
      services.replays.verification,
    ],
  ] as const) {
    app.get(
      path,
      { schema: { summary, tags, params: IdParams, response: replies({ 200: AnyView }) } },
      async (request) =>
        found(await read(context, request, (tx, caller) => get(tx, caller, idOf(request.params))), 'replay'),
    );
  }
  app.post(
    '/v1/replays/:id(^[^:/]+)::cancel',
    {
      config: { needs: 'operate', keyed: true },
      schema: {
        summary: 'End a replay and drop its tables; safe to repeat',
        tags,
        params: IdParams,
        response: replies({ 202: AnyView }),
      },
    },
    (request, reply) =>
      mutate(context, request, reply, async (tx, caller) => ({
        status: 202,
        body: found(await services.replays.cancel(tx, caller, idOf(request.params)), 'replay'),
      })),
  );
}
