import { Readable } from 'node:stream';
import { DEFAULT_GRACE_MS, MIN_GRACE_MS } from '../../../artifacts/unnamed.ts';
import { durationMs } from '../../../core/duration.ts';
import { RefusedInput, refuse } from '../../../core/refusal.ts';
import { Type } from '../../../core/schema.ts';
import { found, read } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { callerOf, whileAnswering } from '../guard.ts';
import { HttpProblem } from '../problem.ts';
import { text } from '../schemas.ts';
import { jobId } from './job-verbs.ts';

const tags = ['jobs'];

/** Files that jobs left, byte for byte; and the collection of what no manifest names. */
export function artifactRoutes(context: RouteContext): void {
  downloadRoute(context);
  collectRoute(context);
}

function downloadRoute(context: RouteContext): void {
  const { app, services } = context;
  app.get(
    '/v1/jobs/:id/artifacts/*',
    {
      exposeHeadRoute: false,
      schema: {
        summary: 'A file that it left; `Range: bytes=N-` goes on where a download broke',
        description: 'The ETag is the SHA-256 of the whole file, also where a part is sent.',
        tags,
        params: Type.Object({ id: Type.String({ maxLength: 2048 }), '*': Type.String({ maxLength: 2048 }) }),
        querystring: Type.Object(
          { attempt: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000 })) },
          { additionalProperties: false },
        ),
        headers: Type.Object({ range: Type.Optional(Type.String()), 'if-match': Type.Optional(Type.String()) }),
        response: text('application/octet-stream'),
      },
    },
    async (request, reply) => {
      const id = jobId(request.params);
      const path = (request.params as { readonly '*': string })['*'];
      const { attempt } = request.query as { attempt?: number };
      const file = found(
        await read(context, request, (tx) => services.artifacts.file(tx, id, path, attempt)),
        'job, or it left no such file',
      );
      const etag = `"${file.sha256}"`;
      const match = request.headers['if-match'];
      if (match !== undefined && match !== etag && match !== '*')
        throw new HttpProblem(412, 'stale', 'the file is another one by now: begin it anew');
      reply
        .header('etag', etag)
        .header('accept-ranges', 'bytes')
        .header('content-type', 'application/octet-stream')
        .header('x-content-type-options', 'nosniff')
        .header('content-disposition', 'attachment');
      const from = Number(/^bytes=(\d{1,15})-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
      if (from > 0 && from >= file.size)
        return reply.code(416).header('content-range', `bytes */${file.size}`).send('');
      if (from > 0) reply.code(206).header('content-range', `bytes ${from}-${file.size - 1}/${file.size}`);
      const stream = await services.artifacts.open(file, from === 0 ? {} : { from });
      return reply.header('content-length', String(file.size - from)).send(stream);
    },
  );
}

const Collect = Type.Object(
  { dryRun: Type.Optional(Type.Boolean()), grace: Type.Optional(Type.String({ maxLength: 20 })) },
  { additionalProperties: false },
);

function collectRoute({ app, services }: RouteContext): void {
  app.post(
    '/v1/artifacts::collect',
    {
      config: { needs: 'operate' },
      schema: {
        summary: 'Delete stored objects of ended jobs that no manifest and no log names; a line of JSON for each',
        description:
          'Objects younger than `grace` (7d; at least 1h) are left alone, as an upload may be under way, and so is what belongs ' +
          'to a job that lives, or to none that is known here (`unknown`). The last line is a summary. Safe to repeat.',
        tags,
        body: Collect,
        response: text('application/x-ndjson'),
      },
    },
    (request, reply) => {
      const { dryRun = false, grace } = (request.body ?? {}) as { dryRun?: boolean; grace?: string };
      const graceMs = grace === undefined ? DEFAULT_GRACE_MS : durationMs(grace);
      if (graceMs === undefined || graceMs < MIN_GRACE_MS)
        throw new RefusedInput([
          refuse(
            'range',
            'grace',
            'is no duration of at least 1h',
            'write 24h or 7d: younger objects may be on their way',
          ),
        ]);
      const away = whileAnswering(reply.raw);
      const caller = callerOf(services, request);
      const findings = services.artifacts.collect(caller, { dryRun, graceMs }, away);
      const lines = async function* () {
        for await (const finding of findings) yield `${JSON.stringify(finding)}\n`;
      };
      return reply.header('content-type', 'application/x-ndjson').send(Readable.from(lines(), { objectMode: false }));
    },
  );
}
