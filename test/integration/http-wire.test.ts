import { type AddressInfo, connect, type Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { MAX_IN_FLIGHT } from '../../api/http/limits.ts';
import { buildHttpServer } from '../../api/http/server.ts';
import { type Fake, fakeServices, JOB_ID, TOKEN } from '../unit/api/http/fake-services.ts';

let fake: Fake;
let app: FastifyInstance;
let port: number;

beforeAll(async () => {
  fake = fakeServices();
  app = buildHttpServer(fake.services);
  await app.listen({ host: '127.0.0.1', port: 0 });
  port = (app.server.address() as AddressInfo).port;
});
afterAll(() => app.close());

function open(): Socket {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  return socket;
}

/** Everything the server says until it closes the connection. */
async function untilClosed(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  // Who goes on writing to a connection that was cut may see it break: what counts is what was said before.
  await new Promise((resolve) => socket.once('close', resolve));
  return Buffer.concat(chunks).toString('latin1');
}

function send(text: string): Promise<string> {
  const socket = open();
  socket.write(text);
  return untilClosed(socket);
}

const head = (request: string, ...headers: string[]) =>
  `${[request, 'Host: 127.0.0.1', `Authorization: Bearer ${TOKEN}`, ...headers].join('\r\n')}\r\n\r\n`;
const json = ['Content-Type: application/json', 'Idempotency-Key: k'];

describe('bytes that are no sound request end with a problem and a closed connection', () => {
  test('H13: Content-Length beside Transfer-Encoding', async () => {
    expect(
      await send(head('POST /v1/jobs HTTP/1.1', ...json, 'Content-Length: 5', 'Transfer-Encoding: chunked')),
    ).toMatch(/^HTTP\/1\.1 400 .*"code":"http_syntax"/s);
  });
  test('H14: two different Content-Lengths', async () => {
    expect(await send(head('POST /v1/jobs HTTP/1.1', ...json, 'Content-Length: 5', 'Content-Length: 6'))).toMatch(
      /^HTTP\/1\.1 400 /,
    );
  });
  test('H17: 17 KiB of headers', async () => {
    expect(await send(head('GET /v1/jobs HTTP/1.1', `X-Long: ${'x'.repeat(17 * 1024)}`))).toMatch(
      /^HTTP\/1\.1 431 .*"code":"headers_too_large"/s,
    );
  });
  test('H53: an unknown method, and CONNECT', async () => {
    expect(await send(head('FROB /v1/jobs HTTP/1.1'))).toMatch(/^HTTP\/1\.1 501 /);
    expect(await send(head('CONNECT example.com:443 HTTP/1.1'))).toMatch(/^HTTP\/1\.1 405 /);
  });
  test('H53: TRACE on a path that is there', async () => {
    expect(await send(head('TRACE /v1/jobs HTTP/1.1', 'Connection: close'))).toMatch(/^HTTP\/1\.1 40[45] /);
  });
  test('H56: no Host in HTTP/1.1', async () => {
    expect(await send('GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /);
  });
  test('H56: two Hosts, and none, are problems like all others', async () => {
    const two = 'GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n';
    expect(await send(two)).toMatch(/^HTTP\/1\.1 400 .*"code":"host"/s);
    expect(await send('GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n')).toMatch(/"code":"host"/);
  });
  test('an expectation that is none of ours', async () => {
    expect(await send(head('POST /v1/jobs HTTP/1.1', ...json, 'Expect: miracles', 'Content-Length: 2'))).toMatch(
      /^HTTP\/1\.1 417 .*"code":"expectation"/s,
    );
  });
  test('what is no HTTP at all', async () => {
    expect(await send('\u0016\u0003\u0001\u0000\u00a5\u0001\r\n\r\n')).toMatch(/^HTTP\/1\.1 (400|501) /);
  });
});

describe('a body is never waited for, nor read, beyond its limits', () => {
  test('H11: one that says it is too large is answered without being read, and the connection ends', async () => {
    const socket = open();
    socket.write(head('POST /v1/jobs HTTP/1.1', ...json, `Content-Length: ${1024 * 1024 + 1}`));
    expect(await untilClosed(socket)).toMatch(/^HTTP\/1\.1 413 .*"code":"body_too_large"/s);
  });
  test('H11: one without a length is cut off at the limit', async () => {
    const socket = open();
    socket.write(head('POST /v1/jobs HTTP/1.1', ...json, 'Transfer-Encoding: chunked'));
    const chunk = `${(64 * 1024).toString(16)}\r\n${' '.repeat(64 * 1024)}\r\n`;
    const feeding = setInterval(() => socket.write(chunk), 1);
    const reply = await untilClosed(socket);
    clearInterval(feeding);
    expect(reply).toMatch(/^HTTP\/1\.1 413 /);
  });
  test('an encoding that is refused is refused before the body comes', async () => {
    expect(await send(head('POST /v1/jobs HTTP/1.1', ...json, 'Content-Encoding: br', 'Content-Length: 211'))).toMatch(
      /^HTTP\/1\.1 415 .*"code":"encoding_unsupported"/s,
    );
  });
  test('who is nobody is told so before the body comes', async () => {
    const socket = open();
    socket.write(
      'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n',
    );
    expect(await untilClosed(socket)).toMatch(/^HTTP\/1\.1 401 /);
  });
  test('H16: headers that drip are given up, and others are served meanwhile', async () => {
    const slow = Array.from({ length: 200 }, () => {
      const socket = open();
      socket.write('GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n');
      const drip = setInterval(() => socket.write('x'), 1000);
      socket.once('close', () => clearInterval(drip));
      return untilClosed(socket);
    });
    for (let i = 0; i < 20; i++) {
      const reply = await fetch(`http://127.0.0.1:${port}/v1/jobs`, { headers: { authorization: `Bearer ${TOKEN}` } });
      expect(reply.status).toBe(200);
    }
    for (const reply of await Promise.all(slow)) expect(reply).toMatch(/^HTTP\/1\.1 408 .*"code":"request_timeout"/s);
  });
  test('H12: a body that stops coming is given up', async () => {
    const socket = open();
    socket.write(`${head('POST /v1/jobs HTTP/1.1', ...json, 'Content-Length: 1000')}{"nam`);
    expect(await untilClosed(socket)).toMatch(/^HTTP\/1\.1 408 .*"code":"body_timeout"/s);
  });
  test('a caller that goes away with half a body sent leaves the server as it was', async () => {
    const socket = open();
    socket.write(`${head('POST /v1/jobs HTTP/1.1', ...json, 'Content-Length: 1000')}{"nam`);
    await new Promise((resolve) => setTimeout(resolve, 50));
    socket.destroy();
    const reply = await fetch(`http://127.0.0.1:${port}/healthz`);
    expect(await reply.json()).toMatchObject({ status: 'ok' });
  });
});

test('callers that go away while they wait leave their places to others, and are counted', async () => {
  const waiting = fakeServices();
  let asked = 0;
  const never = buildHttpServer({
    ...waiting.services,
    jobs: {
      ...waiting.services.jobs,
      get: () => {
        asked++;
        return new Promise(() => {});
      },
    },
  });
  await never.listen({ host: '127.0.0.1', port: 0 });
  const place = (never.server.address() as AddressInfo).port;
  for (let round = 1; round <= 9; round++) {
    const sockets = Array.from({ length: MAX_IN_FLIGHT / 8 }, () => connect(place, '127.0.0.1'));
    for (const socket of sockets) socket.write(head(`GET /v1/jobs/${JOB_ID} HTTP/1.1`));
    await vi.waitFor(() => expect(asked).toBe((round * MAX_IN_FLIGHT) / 8), WAIT);
    for (const socket of sockets) socket.destroy();
    await vi.waitFor(() => expect(waiting.requests).toHaveLength(asked), WAIT);
  }
  expect(new Set(waiting.requests)).toEqual(new Set(['GET /v1/jobs/:id cut']));
  await never.close();
});

/** Far beyond what it takes; only a failure waits this long. */
const WAIT = { timeout: 20_000, interval: 10 };

test('nothing of all this booked anything or was an error of ours', () => {
  expect([fake.submitted, fake.errors]).toEqual([0, []]);
});
