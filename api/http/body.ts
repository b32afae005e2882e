import type { ServerResponse } from 'node:http';
import { PassThrough, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type JsonFault, parseJson } from '../../core/json.ts';
import { BODY_TIMEOUT_MS, MAX_INFLATED_BYTES } from './limits.ts';
import { HttpProblem } from './problem.ts';

/**
 * Bodies: strict JSON (core/json) of at most 1 MiB, and streams (NDJSON, zip) that are never held whole. Encodings other than
 * one gzip on a stream, and character sets other than UTF-8, are refused before a byte is read.
 */
export function readBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, bytes: Buffer, done) => {
    try {
      done(null, jsonBody(bytes));
    } catch (error) {
      done(error as Error);
    }
  });
  for (const type of ['application/x-ndjson', 'application/zip']) {
    app.addContentTypeParser(type, (_request, payload, done) => done(null, payload));
  }
  app.addHook('preParsing', async (request, reply, payload) => {
    if (!hasBody(request)) return payload;
    const streamed = isStreamed(request);
    checkEncoding(request, streamed);
    const timed = withTimeLimit(payload, reply.raw, streamed);
    if (!streamed || request.headers['content-encoding'] === undefined) return timed;
    return inflated(timed);
  });
}

/** The raw bytes of the JSON bodies whose route keeps them (a report's digest is over what came). */
export const rawBodies = new WeakMap<object, Uint8Array>();

function jsonBody(bytes: Buffer): unknown {
  if (bytes.length === 0) throw new HttpProblem(400, 'body_required', 'this request needs a JSON body');
  const reading = parseJson(bytes);
  if (!reading.ok) throw jsonProblem(reading);
  if (typeof reading.value === 'object' && reading.value !== null) rawBodies.set(reading.value, bytes);
  return reading.value;
}

function jsonProblem(fault: JsonFault): HttpProblem {
  // A number no double can hold is well-formed JSON with a value that nothing here takes.
  if (fault.code === 'number') {
    return new HttpProblem(422, 'finite', `the body ${fault.reason} (at byte ${fault.position})`);
  }
  return new HttpProblem(400, fault.code, `the body ${fault.reason} (at byte ${fault.position})`);
}

function hasBody(request: FastifyRequest): boolean {
  return request.headers['transfer-encoding'] !== undefined || (request.headers['content-length'] ?? '0') !== '0';
}

function isStreamed(request: FastifyRequest): boolean {
  return request.routeOptions.config.streamedBody === true;
}

function checkEncoding(request: FastifyRequest, streamed: boolean): void {
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity' && !(streamed && encoding === 'gzip')) {
    throw new HttpProblem(
      415,
      'encoding_unsupported',
      streamed ? 'send it plain or with one gzip' : 'send it without Content-Encoding',
      {
        headers: { connection: 'close', 'accept-encoding': streamed ? 'gzip' : 'identity' },
      },
    );
  }
  const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(request.headers['content-type'] ?? '')?.[1];
  if (charset !== undefined && charset.toLowerCase() !== 'utf-8') {
    throw new HttpProblem(415, 'charset', 'send UTF-8', { headers: { connection: 'close' } });
  }
}

/** Ends a body that does not arrive: a JSON body as a whole, a stream by its pauses. */
function withTimeLimit(payload: Readable, answer: ServerResponse, byPauses: boolean): Readable {
  const out = quiet(new PassThrough());
  const timer = setTimeout(() => {
    // It is us who do not read on: the sender is not late.
    if (byPauses && out.writableNeedDrain) {
      timer.refresh();
      return;
    }
    payload.unpipe(out);
    out.destroy(
      new HttpProblem(408, 'body_timeout', `the body did not arrive within ${BODY_TIMEOUT_MS / 1000} s`, {
        headers: { connection: 'close' },
      }),
    );
  }, BODY_TIMEOUT_MS);
  if (byPauses) payload.on('data', () => timer.refresh());
  const done = () => clearTimeout(timer);
  payload.once('end', done);
  payload.once('error', (error) => {
    done();
    out.destroy(error);
  });
  payload.once('close', () => {
    done();
    // The caller went away with the body half sent.
    if (!out.writableEnded && !out.destroyed) out.destroy(new HttpProblem(400, 'body_cut', 'the body ended too early'));
  });
  out.once('close', done);
  // Answered without reading it: nothing is waited for any more.
  answer.once('close', done);
  return payload.pipe(out);
}

/** A body that nobody came to read may still fail; that must not end the process. Whoever reads it is told all the same. */
function quiet<Stream extends Readable>(stream: Stream): Stream {
  stream.on('error', () => {});
  return stream;
}

function inflated(source: Readable): Readable {
  const gunzip = createGunzip();
  let total = 0;
  source.once('error', (error) => gunzip.destroy(error));
  const out = quiet(
    new PassThrough({
      transform(chunk: Buffer, _encoding, callback) {
        total += chunk.length;
        if (total > MAX_INFLATED_BYTES) {
          callback(
            new HttpProblem(413, 'body_too_large', 'the gzip stream unfolds to more than 8 GiB', {
              headers: { connection: 'close' },
            }),
          );
        } else callback(null, chunk);
      },
    }),
  );
  gunzip.once('error', (error: NodeJS.ErrnoException) => {
    const bad = error.code?.startsWith('Z_') === true || error.code === 'ERR_PADDING_2';
    out.destroy(bad ? new HttpProblem(400, 'gzip', 'the body is not one whole gzip stream') : error);
  });
  out.once('close', () => {
    source.destroy();
    gunzip.destroy();
  });
  source.pipe(gunzip).pipe(out);
  return out;
}
