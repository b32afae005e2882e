import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from '../../../core/schema.ts';
import { found } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { callerOf, mayStill, whileAnswering } from '../guard.ts';
import type { LogPiece, LogQuery } from '../jobs-service.ts';
import * as limits from '../limits.ts';
import { type LogStart, logStreams } from '../log-stream.ts';
import { HttpProblem } from '../problem.ts';
import { IdParams, text } from '../schemas.ts';
import { jobId } from './job-verbs.ts';

const LogParameters = Type.Object(
  {
    from: Type.Optional(
      Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: 'byte offset to read from' }),
    ),
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: limits.MAX_LOG_PIECE_BYTES, description: 'bytes; without it all there is' }),
    ),
    tail: Type.Optional(
      Type.Integer({ minimum: 1, maximum: limits.MAX_TAIL_LINES, description: 'begin this many lines before its end' }),
    ),
    attempt: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000 })),
  },
  { additionalProperties: false },
);

interface LogParametersGiven {
  readonly from?: number;
  readonly limit?: number;
  readonly tail?: number;
  readonly attempt?: number;
}

/** The log of a job: whole, a piece by byte offset, or as it is written. */
export function jobLogRoutes(context: RouteContext): void {
  const { app } = context;
  const follow = logStreams(context);
  app.get(
    '/v1/jobs/:id/logs',
    {
      // A HEAD of a stream would never end.
      exposeHeadRoute: false,
      schema: {
        summary: 'Its log, byte for byte: whole, from an offset, or as a stream while it is written',
        description:
          'Without `limit` all there is now; with it, or with `Range: bytes=N-M`, a piece, and merit-log-next says where to go on. ' +
          'merit-log-end says how a log that will not grow ended: complete, truncated (longer than a log may be) or lost (its ' +
          'provider had gone before the rest was copied). With Accept: text/event-stream the log comes as it is written, attempt ' +
          'after attempt, and the stream ends with the job. Its events: `attempt` (a log begins), `log` ({"text"}, or {"base64"} ' +
          'where the bytes are not UTF-8), `state`, `away` (its provider does not answer), and at last `end`. The id of an event is the byte offset behind it, from the ' +
          'second attempt on with the attempt before it (2:4096); sent back as Last-Event-ID the stream goes on there.',
        tags: ['jobs'],
        params: IdParams,
        querystring: LogParameters,
        headers: Type.Object({ 'last-event-id': Type.Optional(Type.String()), range: Type.Optional(Type.String()) }),
        response: text('text/plain'),
      },
    },
    async (request, reply) => {
      const id = jobId(request.params);
      const given = request.query as LogParametersGiven;
      const away = whileAnswering(reply.raw);
      const start = await startOf(context, request, id, given, away);
      if (request.headers.accept?.includes('text/event-stream') === true)
        return follow(request, reply, id, start, given.attempt);
      const range = given.from === undefined && given.tail === undefined ? rangeOf(request.headers.range) : undefined;
      const query = {
        attempt: start.attempt,
        fromByte: range?.from ?? start.fromByte,
        maxBytes: given.limit ?? range?.maxBytes ?? limits.MAX_LOG_PIECE_BYTES,
      };
      return answer(context, request, reply, id, query, range !== undefined, given.limit, away);
    },
  );
}

/** Where reading begins, by Last-Event-ID, `tail` or `from`. */
async function startOf(
  { services }: RouteContext,
  request: FastifyRequest,
  id: string,
  { from = 0, tail, attempt }: LogParametersGiven,
  signal: AbortSignal,
): Promise<LogStart> {
  const last = request.headers['last-event-id'];
  if (typeof last === 'string') {
    const [, lastAttempt, byte] = /^(?:(\d{1,7}):)?(\d{1,15})$/.exec(last) ?? [];
    if (byte === undefined)
      throw new HttpProblem(400, 'last_event_id', 'Last-Event-ID is not one that this stream gave out; leave it out');
    return { attempt: lastAttempt === undefined ? (attempt ?? 1) : Number(lastAttempt), fromByte: Number(byte) };
  }
  if (tail === undefined) return { attempt, fromByte: from };
  const found = await services.jobs.logTail(callerOf(services, request), id, { attempt, lines: tail }, signal);
  return found ?? { attempt, fromByte: 0 };
}

async function answer(
  { services }: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  id: string,
  query: LogQuery,
  ranged: boolean,
  limit: number | undefined,
  signal: AbortSignal,
): Promise<FastifyReply> {
  const caller = callerOf(services, request);
  const read = (from: LogQuery) => services.jobs.logs(caller, id, from, signal);
  const first = found(await read(query), 'job');
  if (first.fault !== null) throw first.fault;
  if (first.attempt === null) throw new HttpProblem(404, 'not_found', 'the job has no such attempt, or none yet');
  reply
    .header('content-type', 'text/plain; charset=utf-8')
    .header('x-content-type-options', 'nosniff')
    .header('accept-ranges', 'bytes')
    .header('merit-log-attempt', String(first.attempt))
    .header('merit-log-from', String(query.fromByte));
  if (first.end !== null) reply.header('merit-log-end', first.end);
  if (ranged) {
    if (first.bytes.length === 0)
      return reply
        .code(416)
        .header('content-range', `bytes */${first.size ?? '*'}`)
        .send('');
    reply.code(206).header('content-range', `bytes ${query.fromByte}-${first.nextByte - 1}/${first.size ?? '*'}`);
  }
  if (ranged || limit !== undefined)
    return reply
      .header('merit-log-next', String(first.nextByte))
      .header('merit-log-done', String(first.done))
      .send(Buffer.from(first.bytes));
  if (first.size !== null) reply.header('content-length', String(Math.max(0, first.size - query.fromByte)));
  // A job may write for longer than its reader may read.
  const more = async (from: LogQuery) => {
    if (await mayStill(services, request)) return read(from);
    throw new HttpProblem(403, 'forbidden', 'who asked may not read this log any more');
  };
  return reply.send(Readable.from(pieces(first, { ...query, attempt: first.attempt }, more), { objectMode: false }));
}

/** Piece after piece, each read once the one before is taken. */
async function* pieces(
  first: LogPiece,
  query: LogQuery,
  read: (query: LogQuery) => Promise<LogPiece | undefined>,
): AsyncGenerator<Buffer> {
  for (let piece: LogPiece | undefined = first; piece !== undefined && piece.bytes.length > 0; ) {
    yield Buffer.from(piece.bytes.buffer, piece.bytes.byteOffset, piece.bytes.byteLength);
    if (piece.done) return;
    piece = await read({ ...query, fromByte: piece.nextByte });
    if (piece !== undefined && piece.fault !== null) throw piece.fault;
  }
}

/** One range with its first byte; others are as if nothing was said, as RFC 9110 lets them be. */
function rangeOf(header: string | undefined): { readonly from: number; readonly maxBytes: number } | undefined {
  const [, from, to] = /^bytes=(\d{1,15})-(\d{1,15})?$/.exec(header ?? '') ?? [];
  if (from === undefined) return undefined;
  const length = to === undefined ? limits.MAX_LOG_PIECE_BYTES : Number(to) - Number(from) + 1;
  if (length <= 0) return undefined;
  return { from: Number(from), maxBytes: Math.min(length, limits.MAX_LOG_PIECE_BYTES) };
}
