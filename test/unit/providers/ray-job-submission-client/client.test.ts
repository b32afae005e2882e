import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { RayJobClient, RayJobError } from 'ray-job-submission-client';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { alreadyExists, type FakeRay, fakeJob, faults, startFakeRay } from '../../../support/fake-ray.ts';

let ray: FakeRay;
let client: RayJobClient;

beforeEach(async () => {
  ray = await startFakeRay();
  client = clientWith({});
});
afterEach(async () => {
  client.close();
  await ray.close();
});

function clientWith(options: Partial<ConstructorParameters<typeof RayJobClient>[0]>): RayJobClient {
  return new RayJobClient({ address: ray.address, token: ray.token, longestWaitMs: 0, random: () => 0.99, ...options });
}

async function failureOf(work: Promise<unknown>): Promise<RayJobError> {
  const failure = await work.then(
    () => undefined,
    (error) => error,
  );
  expect(failure).toBeInstanceOf(RayJobError);
  return failure as RayJobError;
}

const JOB = { submissionId: 'm-1-1', entrypoint: 'true' };
const GET = /^GET \/api\/jobs\/m-1-1$/;
const POST = /^POST \/api\/jobs\/$/;

describe('a read of Ray', () => {
  test.each([
    ['401', faults.status(401), 'auth'],
    ['403', faults.status(403), 'auth'],
    ['404', faults.status(404, 'Job m-1-1 does not exist'), 'not_found'],
    ['400', faults.status(400, 'Traceback'), 'invalid'],
    ['405', faults.status(405), 'invalid'],
    ['413', faults.status(413), 'too_large'],
    ['422', faults.status(422), 'invalid'],
    ['500 with a traceback', faults.status(500, 'Traceback\nKeyError: 1'), 'server'],
    ['302 to another host', faults.status(302, '', { location: 'http://127.0.0.1:1/' }), 'bad_reply'],
    ['204', faults.status(204), 'bad_reply'],
    ['an empty body', faults.bodyAfterEffect(''), 'bad_reply'],
    ['truncated JSON', faults.bodyAfterEffect('{"status": "RUN'), 'bad_reply'],
    ['less than announced', faults.truncatedAfterEffect, 'unreachable'],
    ['JSON null', faults.bodyAfterEffect('null'), 'bad_reply'],
    ['another job', faults.bodyAfterEffect('{"submission_id":"m-2-1","status":"RUNNING"}'), 'bad_reply'],
    [
      'a key given twice',
      faults.bodyAfterEffect('{"submission_id":"m-1-1","status":"RUNNING","status":"FAILED"}'),
      'bad_reply',
    ],
    ['__proto__', faults.bodyAfterEffect('{"submission_id":"m-1-1","status":"RUNNING","__proto__":{}}'), 'bad_reply'],
    ['100,000 levels', faults.bodyAfterEffect('['.repeat(100_000)), 'bad_reply'],
    ['bytes that are not UTF-8', faults.bodyAfterEffect(Buffer.from([0x22, 0xc3, 0x28, 0x22])), 'bad_reply'],
    ['50 MiB', faults.bodyAfterEffect(Buffer.alloc(50 * 1024 * 1024, 0x20)), 'bad_reply'],
    [
      'a gzip bomb',
      faults.bodyAfterEffect(gzipSync(Buffer.alloc(64 * 1024 * 1024)), { 'content-encoding': 'gzip' }),
      'bad_reply',
    ],
    [
      'a brotli bomb',
      faults.bodyAfterEffect(brotliCompressSync(Buffer.alloc(1024 * 1024)), { 'content-encoding': 'br' }),
      'bad_reply',
    ],
    ['100 KB of headers', faults.bodyAfterEffect('{}', { 'x-long': 'x'.repeat(100_000) }), 'bad_reply'],
  ])('that brings %s fails with a typed error whose effect is known', async (_what, fault, code) => {
    ray.jobs.set('m-1-1', fakeJob());
    ray.inject(GET, fault);
    const failure = await failureOf(client.get('m-1-1'));
    expect(failure).toMatchObject({ code, outcomeUnknown: false });
    expect(failure.message).not.toContain(ray.token);
    expect(ray.calls).toEqual(['GET /api/jobs/m-1-1']);
  });

  test('of a 50 MiB body stops at 1 MiB', async () => {
    const sent = { bytes: 0, closed: Promise.resolve() };
    ray.inject(GET, ({ response }) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const chunk = Buffer.alloc(256 * 1024, 0x20);
      const more = () => {
        while (sent.bytes < 50 * 1024 * 1024 && !response.destroyed) {
          sent.bytes += chunk.length;
          if (!response.write(chunk)) return void response.once('drain', more);
        }
      };
      sent.closed = new Promise((resolve) => response.once('close', resolve));
      more();
    });
    await failureOf(client.get('m-1-1'));
    await sent.closed;
    // 1 MiB, and what lay in the buffers of both sides.
    expect(sent.bytes).toBeLessThan(16 * 1024 * 1024);
  });

  test('is repeated through passing faults', async () => {
    client = clientWith({ longestWaitMs: 60_000, random: () => 0 });
    ray.jobs.set('m-1-1', fakeJob());
    ray.inject(GET, faults.status(503));
    ray.inject(GET, ({ response }) => response.socket?.destroy());
    expect((await client.get('m-1-1')).status).toBe('RUNNING');
    expect(ray.calls).toHaveLength(3);
  });

  test('is repeated when its reply tore', async () => {
    client = clientWith({ longestWaitMs: 60_000, random: () => 0 });
    ray.jobs.set('m-1-1', fakeJob());
    ray.inject(GET, faults.truncatedAfterEffect);
    expect((await client.get('m-1-1')).status).toBe('RUNNING');
    expect(ray.calls).toHaveLength(2);
  });

  test('is tried three times and no more', async () => {
    client = clientWith({ longestWaitMs: 60_000, random: () => 0 });
    ray.inject(GET, faults.status(503), 10);
    expect(await failureOf(client.get('m-1-1'))).toMatchObject({ code: 'server', status: 503 });
    expect(ray.calls).toHaveLength(3);
  });

  test.each([
    ['9999999', 60_000],
    ['abc', undefined],
    ['-5', undefined],
    ['3', 3_000],
  ])('told 429 with Retry-After %s says so, at most 60 s', async (header, retryAfterMs) => {
    ray.inject(GET, faults.status(429, 'slow down', { 'retry-after': header }));
    expect(await failureOf(client.get('m-1-1'))).toMatchObject({ code: 'server', status: 429, retryAfterMs });
  });

  test('gives up at its time-out, also when the body only drips', async () => {
    client = clientWith({ timeoutMs: 150 });
    ray.inject(GET, faults.silence);
    expect(await failureOf(client.get('m-1-1'))).toMatchObject({ code: 'timeout', outcomeUnknown: false });
    ray.inject(GET, ({ response }) => {
      response.writeHead(200);
      const drip = setInterval(() => response.write(' '), 20);
      response.once('close', () => clearInterval(drip));
    });
    expect(await failureOf(client.get('m-1-1'))).toMatchObject({ code: 'timeout' });
  });

  test("throws the caller's own reason when the caller breaks it off", async () => {
    const reason = new Error('enough');
    const controller = new AbortController();
    ray.inject(GET, () => controller.abort(reason));
    await expect(client.get('m-1-1', controller.signal)).rejects.toBe(reason);
    await expect(client.get('m-1-1', controller.signal)).rejects.toBe(reason);
  });

  test('of a server that is not there is unreachable', async () => {
    await ray.close();
    expect(await failureOf(clientWith({ getAttempts: 1 }).get('m-1-1'))).toMatchObject({ code: 'unreachable' });
    expect(await failureOf(client.submit(JOB))).toMatchObject({ code: 'unreachable', outcomeUnknown: false });
  });
});

describe('a submit', () => {
  test.each([
    ['no reply', faults.lostReply, 'timeout'],
    ['a torn connection', faults.tornAfterEffect, 'unreachable'],
    ['an empty 200', faults.bodyAfterEffect(''), 'bad_reply'],
    ['truncated JSON', faults.bodyAfterEffect('{"submission_id": "m-1'), 'bad_reply'],
    ['another id', faults.bodyAfterEffect('{"submission_id":"m-9-9"}'), 'bad_reply'],
    ['50 MiB', faults.bodyAfterEffect(Buffer.alloc(50 * 1024 * 1024, 0x20)), 'bad_reply'],
    ['500', faults.status(500, 'No available agent to submit job, please try again later.'), 'server'],
    ['503', faults.status(503), 'server'],
    ['a redirect', faults.status(307, '', { location: 'http://127.0.0.1:1/' }), 'bad_reply'],
  ])('that meets %s is sent once and its outcome is unknown', async (_what, fault, code) => {
    client = clientWith({ submitTimeoutMs: 300, longestWaitMs: 60_000 });
    ray.inject(POST, fault);
    expect(await failureOf(client.submit(JOB))).toMatchObject({ code, outcomeUnknown: true });
    expect(ray.calls).toEqual(['POST /api/jobs/']);
  });

  test.each([
    ['a duplicate, worded as Ray does', faults.status(500, alreadyExists('m-1-1')), 'already_exists'],
    ['400', faults.status(400, 'TypeError: entrypoint must be a string'), 'invalid'],
    ['413', faults.status(413), 'too_large'],
    ['422', faults.status(422), 'invalid'],
    ['403', faults.status(403), 'auth'],
    [
      "the agent's 400 inside a 500",
      faults.status(500, 'RuntimeError: Request failed with status code 400: x'),
      'invalid',
    ],
  ])('refused as %s had no effect', async (_what, fault, code) => {
    ray.inject(POST, fault);
    expect(await failureOf(client.submit(JOB))).toMatchObject({ code, outcomeUnknown: false });
  });

  test('says in one line what the traceback ends with', async () => {
    ray.inject(POST, faults.status(500, alreadyExists('m-1-1')));
    const { message, detail } = await failureOf(client.submit(JOB));
    expect(message).toBe(
      'Ray answered 500 while submitting a job: ValueError: Job with submission_id m-1-1 already exists. Please use a different submission_id.',
    );
    expect(detail).toContain('Traceback');
  });

  test('with an id that Ray cannot hold is refused before it is sent', async () => {
    for (const submissionId of ['', 'a/b', '../x', 'ä', 'x'.repeat(257)]) {
      expect(await failureOf(client.submit({ ...JOB, submissionId }))).toMatchObject({ code: 'invalid' });
    }
    expect(ray.calls).toEqual([]);
  });
});

describe('the token', () => {
  test('is read again once after a refusal, and the call repeated with the new one', async () => {
    const tokens = ['old', 'token-1', 'third'];
    let reads = 0;
    client = clientWith({ token: async () => tokens[reads++] ?? '' });
    await client.submit(JOB);
    expect(reads).toBe(2);
    expect(ray.authorizations).toEqual(['Bearer old', 'Bearer token-1']);
    await client.get('m-1-1');
    expect(reads).toBe(2);
  });

  test('that stays refused is not tried again and again', async () => {
    let reads = 0;
    client = clientWith({ token: async () => `wrong-${reads++}` });
    expect(await failureOf(client.get('m-1-1'))).toMatchObject({ code: 'auth' });
    expect(ray.calls).toHaveLength(2);
    client = clientWith({ token: async () => 'same' });
    expect(await failureOf(client.get('m-1-1'))).toMatchObject({ code: 'auth' });
    expect(ray.calls).toHaveLength(3);
  });

  test('is not sent to where a redirect points', async () => {
    const visits: (string | undefined)[] = [];
    const other = createServer((request, response) => {
      visits.push(request.headers.authorization);
      response.end('{}');
    });
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const location = `http://127.0.0.1:${(other.address() as AddressInfo).port}/api/jobs/m-1-1`;
    for (const status of [301, 302, 303, 307, 308]) {
      ray.inject(GET, faults.status(status, '', { location }));
      expect(await failureOf(client.get('m-1-1'))).toMatchObject({ code: 'bad_reply' });
    }
    other.close();
    expect(visits).toEqual([]);
  });

  test('is not sent when asking what a caller without one gets', async () => {
    expect(await client.statusWithoutToken()).toBe(401);
    expect(ray.authorizations).toEqual([undefined]);
  });

  test('that could break a header is refused and not shown', async () => {
    for (const token of ['', ' \n', 'a\r\nb', 'zwölf']) {
      const failure = await failureOf((async () => clientWith({ token }).version())());
      expect(failure.code).toBe('auth');
      if (token.trim() !== '') expect(failure.message).not.toContain(token);
    }
  });
});

describe('following a log', () => {
  async function tailServer(
    send: (socket: import('ws').WebSocket) => void,
  ): Promise<{ url: string; close(): void; offers: (string | undefined)[] }> {
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    const offers: (string | undefined)[] = [];
    await new Promise((resolve) => server.once('listening', resolve));
    server.on('connection', (socket, request) => {
      offers.push(request.headers['sec-websocket-extensions']);
      send(socket);
    });
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, offers, close: () => server.close() };
  }

  async function textOf(source: AsyncIterable<Uint8Array>): Promise<string> {
    const parts: Uint8Array[] = [];
    for await (const part of source) parts.push(part);
    return Buffer.concat(parts).toString('utf8');
  }

  test('skips to the byte asked for, offers no compression, and ends with the log', async () => {
    const server = await tailServer((socket) => {
      for (const line of ['ab', 'cdä', 'f']) socket.send(line);
      socket.close(1000);
    });
    const tail = new RayJobClient({ address: server.url }).tail('m-1-1', { fromByte: 3 });
    expect(await textOf(tail)).toBe('däf');
    expect(server.offers).toEqual([undefined]);
    server.close();
  });

  test('delivers what came before a torn connection, then says so', async () => {
    const server = await tailServer((socket) => {
      socket.send('begun', () => socket.terminate());
    });
    const seen: string[] = [];
    const work = (async () => {
      for await (const part of new RayJobClient({ address: server.url }).tail('m-1-1'))
        seen.push(Buffer.from(part).toString());
    })();
    expect(await failureOf(work)).toMatchObject({ code: 'unreachable' });
    expect(seen).toEqual(['begun']);
    server.close();
  });

  test('loses nothing to a reader slower than the job', async () => {
    const lines = Array.from({ length: 500 }, (_, index) => `line ${index}\n`);
    const server = await tailServer((socket) => {
      for (const line of lines) socket.send(line);
      socket.close(1000);
    });
    let text = '';
    for await (const part of new RayJobClient({ address: server.url }).tail('m-1-1')) {
      text += Buffer.from(part).toString();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(text).toBe(lines.join(''));
    server.close();
  });

  test('closes the socket when its reader stops or its caller breaks off', async () => {
    const closed: Promise<unknown>[] = [];
    const server = await tailServer((socket) => {
      closed.push(new Promise((resolve) => socket.once('close', resolve)));
      socket.send('x');
    });
    const client = new RayJobClient({ address: server.url });
    for await (const _part of client.tail('m-1-1')) break;
    const controller = new AbortController();
    const reason = new Error('enough');
    const second = (async () => {
      for await (const _part of client.tail('m-1-1', {}, controller.signal)) controller.abort(reason);
    })();
    await expect(second).rejects.toBe(reason);
    await Promise.all(closed);
    expect(closed).toHaveLength(2);
    server.close();
  });
});
