import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from '../../../core/schema.ts';
import { read } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { EventWakes } from '../event-wakes.ts';
import { callerOf } from '../guard.ts';
import * as limits from '../limits.ts';
import { OpenStreams } from '../open-streams.ts';
import { HttpProblem } from '../problem.ts';
import { Literal, text } from '../schemas.ts';
import type { EventFilter, EventPage, StreamEnd } from '../services.ts';
import { eventBlock, idBlock, type SseStream } from '../sse.ts';

/** What happens, as it happens: published ticks, decisions, reviews, and every other audit event of the tenant. */
export function eventRoutes(context: RouteContext): void {
  const { app, services } = context;
  const wakes = new EventWakes(
    (tenant) => services.db.asTenant(tenant, (tx) => services.events.head(tx, tenant)),
    services.clock,
    limits.EVENTS_POLL_MS,
  );
  const streams = new OpenStreams(context, limits.MAX_EVENT_STREAMS, (open) => services.metrics.streams(open));
  const EventQuery = Type.Object(
    {
      suite: Literal,
      type: Type.Optional(
        Type.String({
          maxLength: 256,
          description: 'types or their beginnings, joined by commas: score.tick,decision takes in decision.promote',
        }),
      ),
    },
    { additionalProperties: false },
  );
  app.get(
    '/v1/events',
    {
      // A HEAD of it would never end.
      exposeHeadRoute: false,
      schema: {
        summary: 'A stream of what happens (server-sent events)',
        description:
          'score.tick (published; `revised`: late data changed it), decision.promote, decision.demote, decision.review, booking.* ' +
          'and the other audit events. Every event has an id; send the last one as Last-Event-ID, and the stream goes on behind ' +
          'it, losing and doubling nothing. Without it the stream starts now. Ticks are in the order of their commit, audit ' +
          'events in that of the chain. An audit event over 8 KiB comes without its data: read it at /v1/audit/events.',
        tags: ['events'],
        querystring: EventQuery,
        headers: Type.Object({ 'last-event-id': Type.Optional(Type.String()) }),
        response: text('text/event-stream'),
      },
    },
    (request, reply) => {
      const filter = filterOf(request);
      return streams.open(
        request,
        reply,
        () => firstPage(context, request, filter),
        (stream, first, until) => follow(context, request, reply, stream, wakes, until, filter, first),
      );
    },
  );
}

function filterOf(request: FastifyRequest): EventFilter {
  const { suite, type } = request.query as { suite?: string; type?: string };
  return { suite, types: type?.split(',') };
}

async function firstPage(context: RouteContext, request: FastifyRequest, filter: EventFilter): Promise<EventPage> {
  const { events } = context.services;
  const header = request.headers['last-event-id'];
  const page = await read(context, request, async (tx, caller) => {
    if (header === undefined) return { events: [], position: await events.now(tx, caller), more: false };
    return typeof header === 'string' ? events.after(tx, caller, header, filter) : undefined;
  });
  if (page !== undefined) return page;
  throw new HttpProblem(
    400,
    'last_event_id',
    'Last-Event-ID is not one that this stream gave out; start again without it',
  );
}

/** Sends page after page until the reader goes or may read no more, the server stops, or the stream is old enough. */
async function follow(
  context: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  stream: SseStream,
  wakes: EventWakes,
  until: AbortSignal,
  filter: EventFilter,
  first: EventPage,
): Promise<void> {
  const { services } = context;
  const { tenant } = callerOf(services, request).identity;
  const endMs = services.clock.now() + limits.MAX_STREAM_MS;
  const watch = wakes.open(tenant);
  let page = first;
  let ended: StreamEnd = 'over';
  try {
    if (!(await stream.send(`retry: ${limits.STREAM_RETRY_MS}\n${pageBlocks(page)}`))) return;
    while (!until.aborted && services.clock.now() < endMs) {
      const mark = watch.mark();
      const next = await read(context, request, (tx, caller) =>
        services.events.after(tx, caller, page.position, filter),
      );
      const moved = next !== undefined && next.position !== page.position;
      page = next ?? page;
      if (moved && !(await stream.send(pageBlocks(page)))) return;
      if (page.more) continue;
      await watch.wait(mark, limits.HEARTBEAT_MS, until);
      // Nothing for so long: a comment, by which either side finds out that the other is gone.
      if (mark === watch.mark() && !until.aborted && !(await stream.send(': alive\n\n'))) return;
    }
  } catch (error) {
    ended = 'fault';
    services.log.warn({ trace: request.id, error: String(error) }, 'an event stream ended; its reader comes again');
  } finally {
    watch.close();
    if (stream.denied) ended = 'denied';
    else if (stream.slow) ended = 'slow';
    else if (stream.gone.aborted && ended === 'over' && !reply.raw.writableFinished) ended = 'left';
    services.metrics.streamEnded(ended);
  }
}

/** The events, and at last the position where it lies behind the last of them. */
function pageBlocks({ events, position }: EventPage): string {
  const blocks = events.map(eventBlock).join('');
  return events.at(-1)?.id === position ? blocks : `${blocks}${idBlock(position)}`;
}
