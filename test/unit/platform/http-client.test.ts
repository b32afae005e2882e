import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Server as TcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { AssertionError } from '../../../core/assert.ts';
import { devSpiffeId, ensureDevCertificates } from '../../../platform/dev-ca.ts';
import { type HttpClient, type HttpClientOptions, openHttpClient } from '../../../platform/http-client.ts';
import { isLoopbackHost } from '../../../platform/loopback.ts';
import { clientTls, loadTls, serverTls, type TlsMaterial } from '../../../platform/mtls.ts';
import { Secret } from '../../../platform/secret.ts';
import { runInTrace } from '../../../platform/trace.ts';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

async function listen(server: Server | TcpServer): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(async () => {
    if ('closeAllConnections' in server) server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function client(origin: string, options: Omit<HttpClientOptions, 'origin'> = {}): HttpClient {
  const opened = openHttpClient({ origin, ...options });
  closing.push(() => opened.close());
  return opened;
}

const serve = async (listener: RequestListener, options: Omit<HttpClientOptions, 'origin'> = {}) =>
  client(await listen(createServer(listener)), options);
const reply = (send: (response: ServerResponse, request: IncomingMessage) => void) =>
  serve((request, response) => send(response, request));
const GET = { method: 'GET', path: '/x', timeoutMs: 30_000 } as const;

/** A server that answers each connection with these raw bytes. */
async function raw(bytes: string | Buffer, hold = false): Promise<HttpClient> {
  const server = createTcpServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => {
      socket.write(bytes);
      if (!hold) socket.end();
    });
    closing.push(async () => socket.destroy());
  });
  return client(await listen(server));
}

describe('an exchange', () => {
  test('sends method, path, query, headers and canonical JSON, and reads JSON back', async () => {
    const seen: unknown[] = [];
    const http = await serve(async (request, response) => {
      const body = await new Response(request as unknown as ReadableStream).text();
      seen.push(
        request.method,
        request.url,
        request.headers['content-type'],
        request.headers['accept-encoding'],
        request.headers['x-own'],
        body,
      );
      response.writeHead(201, { 'content-type': 'application/json', 'x-two': ['a', 'b'] }).end('{"ok": true}');
    });
    const answer = await http.json({
      ...GET,
      method: 'POST',
      path: '/a?b=c',
      headers: { 'x-own': '1' },
      body: { z: 1, a: [2] },
    });
    expect(answer).toMatchObject({ status: 201, body: { ok: true }, headers: { 'x-two': 'a, b' } });
    expect(seen).toEqual(['POST', '/a?b=c', 'application/json', 'identity', '1', '{"a":[2],"z":1}']);
  });

  test.each([204, 400, 404, 409, 500, 503])(
    'a complete reply of status %s is a reply, not an error',
    async (status) => {
      const http = await reply((response) => response.writeHead(status).end(status === 204 ? undefined : '"why"'));
      expect(await http.json(GET)).toMatchObject({ status, body: status === 204 ? undefined : 'why' });
    },
  );

  test('a redirect is not followed, and the token stays where it belongs', async () => {
    let elsewhere = 0;
    const other = await listen(
      createServer((_request, response) => {
        elsewhere++;
        response.end();
      }),
    );
    const http = await serve((_request, response) => response.writeHead(307, { location: `${other}/steal` }).end(), {
      token: () => new Secret('t'),
    });
    expect((await http.send(GET)).status).toBe(307);
    expect(elsewhere).toBe(0);
  });

  test('the token is asked for each time, and the trace is carried on', async () => {
    const seen: unknown[] = [];
    let turn = 0;
    const http = await serve(
      (request, response) => {
        seen.push(request.headers.authorization, request.headers.traceparent);
        response.end();
      },
      { token: () => (turn++ === 0 ? new Secret('old') : new Secret('new')) },
    );
    const at = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), sampled: true };
    await http.send(GET);
    await runInTrace(at, () => http.send(GET));
    expect(seen).toEqual(['Bearer old', undefined, 'Bearer new', `00-${at.traceId}-${at.spanId}-01`]);
  });

  test.each(['//evil.example/x', 'http://evil.example/', '/\\evil.example', 'x', ''])(
    'a path that leaves the origin (%j) is a bug of ours',
    async (path) => {
      const http = await reply((response) => response.end());
      await expect(http.send({ ...GET, path })).rejects.toThrow(AssertionError);
    },
  );
});

describe('replies that cannot be trusted', () => {
  test('one past the limit is cut off, whether it tells its length or not', async () => {
    const told = await reply((response) => response.writeHead(200, { 'content-length': 50 * 1024 * 1024 }).write('x'));
    await expect(told.send(GET)).rejects.toMatchObject({ code: 'bad-reply', retry: 'look-first' });
    let written = 0;
    const untold = await reply((response) => {
      const more = () => {
        while (written < 50 * 1024 * 1024 && !response.destroyed) {
          written += 65_536;
          if (!response.write(Buffer.alloc(65_536))) return response.once('drain', more);
        }
        return response.end();
      };
      more();
    });
    await expect(untold.send(GET)).rejects.toMatchObject({ code: 'bad-reply' });
    expect(written).toBeLessThan(20 * 1024 * 1024);
    await expect(untold.send({ ...GET, maxReplyBytes: 10 })).rejects.toMatchObject({ code: 'bad-reply' });
  });

  test('an encoded one is not unpacked', async () => {
    const bomb = gzipSync(Buffer.alloc(10 * 1024 * 1024));
    const http = await reply((response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb));
    await expect(http.send(GET)).rejects.toMatchObject({
      code: 'bad-reply',
      message: expect.stringContaining('encoded'),
    });
  });

  test.each(['{"a":1', '', '{"a":1,"a":2}', '{"__proto__":{}}', '['.repeat(100_000), 'NaN', '\ufeff{}'])(
    'JSON that is not sound is never a value (%#)',
    async (text) => {
      const http = await reply((response) => response.end(text));
      if (text === '') expect((await http.json(GET)).body).toBeUndefined();
      else await expect(http.json(GET)).rejects.toMatchObject({ code: 'bad-reply', retry: 'look-first' });
    },
  );

  test('one that breaks off in the middle is unknown', async () => {
    const http = await raw('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"half":');
    await expect(http.send(GET)).rejects.toMatchObject({ retry: 'look-first' });
    const none = await raw('');
    await expect(none.send(GET)).rejects.toMatchObject({ code: 'unreachable', retry: 'look-first' });
  });

  test('one that is not HTTP, or whose headers never end, is bad', async () => {
    await expect((await raw('SSH-2.0-OpenSSH_9.2\r\n')).send(GET)).rejects.toMatchObject({ code: 'bad-reply' });
    const headers = `HTTP/1.1 200 OK\r\n${Array.from({ length: 1000 }, (_, i) => `x-${i}: ${'y'.repeat(100)}`).join('\r\n')}\r\n\r\n`;
    await expect((await raw(headers)).send(GET)).rejects.toMatchObject({ code: 'bad-reply' });
  });
});

describe('services that are away or slow', () => {
  test('nobody listens: safe to repeat', async () => {
    const server = createTcpServer();
    const origin = await listen(server);
    server.close();
    await once(server, 'close');
    await expect(client(origin).send(GET)).rejects.toMatchObject({ code: 'unreachable', retry: 'safe' });
  });

  test('no answer in time, at the headers or in the body: look first', async () => {
    const silent = await reply(() => {});
    await expect(silent.send({ ...GET, timeoutMs: 50 })).rejects.toMatchObject({
      code: 'timeout',
      retry: 'look-first',
    });
    const stuck = await raw('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{', true);
    await expect(stuck.send({ ...GET, timeoutMs: 50 })).rejects.toMatchObject({ code: 'timeout', retry: 'look-first' });
  });

  test("the caller's signal ends it", async () => {
    const silent = await reply(() => {});
    const stop = new AbortController();
    const waiting = silent.send({ ...GET, signal: stop.signal });
    stop.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'aborted' });
  });

  test('neither query nor token is told in errors', async () => {
    const silent = await serve(() => {}, { token: () => new Secret('hunter2') });
    const error: Error = await silent.send({ ...GET, path: '/x?q=private', timeoutMs: 20 }).then(
      () => new Error('answered'),
      (reason: Error) => reason,
    );
    expect(`${error.stack} ${JSON.stringify(error)}`).not.toMatch(/hunter2|private/);
  });
});

describe('over mTLS', () => {
  let dir: string;
  let server: TlsMaterial;
  let kernel: TlsMaterial;
  let served = 0;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'merit-http-'));
    const files = await ensureDevCertificates({ dir, services: ['server', 'kernel'], nowMs: Date.now() });
    [server, kernel] = await Promise.all([loadTls(files.server, Date.now()), loadTls(files.kernel, Date.now())]);
  });
  afterAll(() => rm(dir, { recursive: true }));

  const secure = async () =>
    (
      await listen(
        createTlsServer(serverTls(server), (_request, response) => {
          served++;
          response.end('"hello"');
        }),
      )
    ).replace('http:', 'https:');

  test('the right service answers, call after call', async () => {
    const http = client(await secure(), { tls: clientTls(kernel, [devSpiffeId('server')]) });
    for (let i = 0; i < 3; i++) expect((await http.json(GET)).body).toBe('hello');
  });

  test('a service of another name, and one that does not want us, are never given the request', async () => {
    served = 0;
    const wrong = client(await secure(), { tls: clientTls(kernel, [devSpiffeId('finance')]) });
    await expect(wrong.send(GET)).rejects.toMatchObject({ code: 'auth', retry: 'safe' });
    // A server's refusal of our certificate reaches us as a cut connection, which could be anything.
    const { cert: _, key: __, ...bare } = clientTls(kernel, [devSpiffeId('server')]);
    await expect(client(await secure(), { tls: bare }).send(GET)).rejects.toMatchObject({ retry: 'look-first' });
    await expect(client(await secure()).send(GET)).rejects.toMatchObject({ code: 'auth', retry: 'safe' });
    expect(served).toBe(0);
  });
});

test('plain http is for loopback only, and an origin names no user', () => {
  for (const origin of [
    'http://10.0.0.1',
    'http://localhost.evil.example',
    'http://127.0.0.1.nip.io',
    'https://u:p@h',
    'https://h/path',
  ]) {
    expect(() => openHttpClient({ origin }), origin).toThrow(AssertionError);
  }
  expect(['localhost', '127.0.0.1', '127.1.2.3', '[::1]'].map(isLoopbackHost)).toEqual([true, true, true, true]);
  expect(['0.0.0.0', '128.0.0.1', 'localhost.', '[::]', '127.0.0.1.x'].map(isLoopbackHost)).toEqual([
    false,
    false,
    false,
    false,
    false,
  ]);
});
