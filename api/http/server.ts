import type { Socket } from 'node:net';
import fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import { readBodies } from './body.ts';
import type { RouteContext } from './context.ts';
import { guardRequests, onceOver } from './guard.ts';
import { Idempotency } from './idempotency.ts';
import * as limits from './limits.ts';
import { lingerBehindAnswers } from './linger.ts';
import { describeApi, publicPath } from './openapi.ts';
import { HttpProblem, type Problem, problemOf } from './problem.ts';
import { allocationRoutes } from './routes/allocations.ts';
import { artifactRoutes } from './routes/artifacts.ts';
import { auditRoutes } from './routes/audit.ts';
import { documentRoutes } from './routes/documents.ts';
import { eventRoutes } from './routes/events.ts';
import { finopsRoutes } from './routes/finops.ts';
import { healthRoutes } from './routes/health.ts';
import { jobLogRoutes } from './routes/job-logs.ts';
import { jobRoutes } from './routes/jobs.ts';
import { modelRoutes } from './routes/models.ts';
import { poolRoutes } from './routes/pools.ts';
import { proposalRoutes } from './routes/proposals.ts';
import { quarantineRoutes } from './routes/quarantine.ts';
import { recomputeRoutes } from './routes/recompute.ts';
import { replayRoutes } from './routes/replays.ts';
import { reportRoutes } from './routes/reports.ts';
import { rolloutRoutes } from './routes/rollouts.ts';
import { scoreRoutes } from './routes/scores.ts';
import { scoringRoutes } from './routes/scoring.ts';
import type { Services } from './services.ts';
import { traceIdOf, traceparent } from './trace.ts';
import { validateBySchema } from './validate.ts';

/** The HTTP server, not yet listening: the caller listens on loopback and closes it. */
export function buildHttpServer(services: Services): FastifyInstance {
  const app = fastify({
    logger: false,
    bodyLimit: limits.MAX_BODY_BYTES,
    requestTimeout: 0,
    keepAliveTimeout: limits.KEEP_ALIVE_TIMEOUT_MS,
    forceCloseConnections: 'idle',
    requestIdHeader: false,
    genReqId: (request) => traceIdOf(request.headers.traceparent),
    http: limits.CONNECTION_OPTIONS,
    routerOptions: {
      maxParamLength: limits.MAX_PARAM_LENGTH,
      ignoreTrailingSlash: false,
      caseSensitive: true,
    },
    clientErrorHandler: (error, socket) => answerBrokenRequest(services, error, socket),
    frameworkErrors: (error, request, reply) => {
      const problem = problemOf(error, request.id);
      services.metrics.rejected(problem.code);
      if (problem.ours) services.log.error({ trace: request.id, err: error }, 'a request failed in the framework');
      sendProblem(reply, problem);
    },
  });
  // Answers are plain values that their schemas describe; a serializer that drops what a schema forgot would hide it.
  app.setSerializerCompiler(() => (value) => JSON.stringify(value));
  validateBySchema(app);
  tellProblems(app, services);
  measure(app, services);
  guardRequests(app, services);
  lingerBehindAnswers(app);
  readBodies(app);
  describeApi(app, services.version);
  refuseOtherMethods(app);
  const context: RouteContext = { app, services, idempotency: new Idempotency(services.db) };
  void app.register(async (scope) => {
    for (const routes of [
      healthRoutes,
      jobRoutes,
      jobLogRoutes,
      artifactRoutes,
      reportRoutes,
      quarantineRoutes,
      replayRoutes,
      scoreRoutes,
      scoringRoutes,
      rolloutRoutes,
      recomputeRoutes,
      modelRoutes,
      poolRoutes,
      allocationRoutes,
      proposalRoutes,
      documentRoutes,
      auditRoutes,
      finopsRoutes,
      eventRoutes,
    ]) {
      routes({ ...context, app: scope });
    }
  });
  return app;
}

function sendProblem(reply: FastifyReply, problem: Problem): FastifyReply {
  return reply.code(problem.status).headers(problem.headers).type('application/problem+json').send(problem.document);
}

function tellProblems(app: FastifyInstance, services: Services): void {
  app.setErrorHandler((error, request, reply) => {
    // Said of QUERY alone, before its path is looked at; no route here takes it.
    const cause =
      (error as { code?: unknown }).code === 'FST_ERR_ROUTE_MISSING_CONTENT_TYPE' ? noRoute(app, request.url) : error;
    const problem = problemOf(cause, request.id);
    services.metrics.rejected(problem.code);
    if (problem.ours)
      services.log.error({ trace: request.id, route: request.routeOptions.url, err: error }, 'a request failed');
    return sendProblem(reply, problem);
  });
  app.setNotFoundHandler((request) => {
    throw noRoute(app, request.url);
  });
}

function noRoute(app: FastifyInstance, url: string): HttpProblem {
  const allowed = allowedMethods(app, url).join(', ');
  return allowed === ''
    ? new HttpProblem(404, 'not_found', 'there is nothing under this path')
    : new HttpProblem(405, 'method', `this path takes ${allowed}`, { headers: { allow: allowed } });
}

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const;

/** The methods under which this very path is routed. */
function allowedMethods(app: FastifyInstance, url: string): readonly string[] {
  const path = url.split('?')[0] ?? url;
  return (patterns.get(app) ?? [])
    .filter((route) => route.pattern.test(path))
    .map((route) => route.method)
    .sort();
}

const patterns = new WeakMap<object, { readonly method: string; readonly pattern: RegExp }[]>();

function refuseOtherMethods(app: FastifyInstance): void {
  const routes: { readonly method: string; readonly pattern: RegExp }[] = [];
  patterns.set(app, routes);
  app.addHook('onRoute', (route) => {
    for (const method of [route.method].flat()) {
      if (!METHODS.some((known) => known === method)) continue;
      const source = route.url
        .replaceAll('::', '\u0000')
        .replaceAll(/:[a-z]+(\([^)]*\))?/gi, '[^/:]+')
        .replaceAll('\u0000', ':');
      routes.push({ method, pattern: new RegExp(`^${source}$`) });
    }
  });
  // `PUT /v1/pools/a:drain` would be taken for one of a pool that is named `a:drain`.
  app.addHook('onRequest', async ({ url, method }) => {
    if (!(url.split('?')[0] ?? url).includes(':')) return;
    const allowed = allowedMethods(app, url);
    if (allowed.length > 0 && !allowed.includes(method === 'HEAD' ? 'GET' : method)) throw noRoute(app, url);
  });
  app.server.on('checkExpectation', (_request, response) => {
    const problem = problemOf(
      new HttpProblem(417, 'expectation', 'only 100-continue can be expected'),
      traceIdOf(undefined),
    );
    response.writeHead(problem.status, { 'content-type': 'application/problem+json', connection: 'close' });
    response.end(JSON.stringify(problem.document));
  });
  app.server.on('connect', (_request, socket) => {
    socket.end('HTTP/1.1 405 Method Not Allowed\r\nconnection: close\r\ncontent-length: 0\r\n\r\n');
  });
}

function measure(app: FastifyInstance, services: Services): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.header('traceparent', traceparent(request.id));
    reply.header('cache-control', 'no-store');
  });
  app.addHook('onRequest', async (request, reply) => {
    const startMs = performance.now();
    onceOver(reply.raw, (cut) => {
      const route = publicPath(request.routeOptions.url ?? 'none');
      const ms = performance.now() - startMs;
      const outcome = cut ? 'cut' : `${Math.floor(reply.raw.statusCode / 100)}xx`;
      services.metrics.request(route, request.method, outcome, ms / 1000);
      const fields = {
        trace: request.id,
        method: request.method,
        route,
        status: cut ? null : reply.raw.statusCode,
        ms: Math.round(ms),
      };
      if (request.routeOptions.config?.open === true) return;
      services.log.info(fields, cut ? 'request, cut by its caller' : 'request');
    });
  });
}

/** A request that never became one: too large a header, too slow, or not HTTP. */
function answerBrokenRequest(services: Services, error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  const problem = problemOf(brokenRequest(error), traceIdOf(undefined));
  services.metrics.rejected(problem.code);
  socket.end(rawAnswer(problem), () => socket.destroy());
}

function brokenRequest(error: Error & { readonly code?: string }): HttpProblem {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return new HttpProblem(
        431,
        'headers_too_large',
        `the headers are larger than ${limits.MAX_HEADER_BYTES / 1024} KiB`,
      );
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new HttpProblem(408, 'request_timeout', 'the request did not arrive in time');
    case 'HPE_INVALID_METHOD':
      return new HttpProblem(501, 'method', 'this server does not know that method');
    default:
      return new HttpProblem(400, 'http_syntax', 'this is not a well-formed HTTP request');
  }
}

function rawAnswer(problem: Problem): string {
  const body = JSON.stringify(problem.document);
  const lines = [
    `HTTP/1.1 ${problem.status} ${problem.document.title}`,
    'content-type: application/problem+json',
    'connection: close',
    `content-length: ${Buffer.byteLength(body)}`,
  ];
  return `${lines.join('\r\n')}\r\n\r\n${body}`;
}
