import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { cutStalled } from '../../../../api/http/guard.ts';
import { MAX_TENANT_IN_FLIGHT } from '../../../../api/http/limits.ts';
import { buildHttpServer } from '../../../../api/http/server.ts';
import { tokenIdentifier } from '../../../../api/http/token.ts';
import { fakeServices, TOKEN } from './fake-services.ts';

/** An answer under way is one of those that a server gives at a time. */

describe('an answer', () => {
  const LIMIT_MS = 150;
  let server: Server;
  let answers: ServerResponse[];
  let reader: Socket;

  beforeEach(async () => {
    answers = [];
    server = createServer((_request, answer) => {
      cutStalled(answer, LIMIT_MS);
      answers.push(answer);
      server.emit('asked');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const asked = once(server, 'asked');
    reader = connect((server.address() as AddressInfo).port, '127.0.0.1');
    reader.on('error', () => {});
    reader.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    await asked;
  });
  afterEach(() => {
    reader.destroy();
    server.closeAllConnections();
    server.close();
  });

  test('of which nothing is taken is cut', async () => {
    reader.pause();
    // More than the kernel holds for a reader.
    answers[0]!.write(Buffer.alloc(32 * 1024 * 1024));
    await once(answers[0]!, 'close');
    expect(answers[0]!.writableFinished).toBe(false);
  });

  test('that takes its time to be there is not', async () => {
    let timeouts = 0;
    answers[0]!.on('timeout', () => timeouts++);
    await expect.poll(() => timeouts).toBeGreaterThan(0);
    const read = once(reader, 'data');
    answers[0]!.end('late');
    expect(String((await read)[0])).toContain('late');
  });
});

test('a tenant whose answers all wait leaves others theirs, and has its own again when they are given', async () => {
  let give = () => {};
  const given = new Promise<void>((resolve) => {
    give = resolve;
  });
  const known = fakeServices().services;
  const identify = tokenIdentifier(TOKEN, {
    principal: 'token:rival',
    tenant: 'rival',
    functions: ['read'],
    producers: 'any',
  });
  const jobs = { ...known.jobs, list: async () => given.then(() => ({ items: [], last: undefined })) };
  const app = buildHttpServer({
    ...known,
    jobs,
    identify: async (presented) =>
      presented.authorization === 'Bearer rival'
        ? identify({ ...presented, authorization: `Bearer ${TOKEN}` })
        : known.identify(presented),
  });
  try {
    // It begins once somebody waits for it.
    const get = async (token: string, url: string) =>
      app.inject({ url, headers: { host: 'localhost', authorization: `Bearer ${token}` } });
    const waiting = Array.from({ length: MAX_TENANT_IN_FLIGHT }, () => get(TOKEN, '/v1/jobs'));
    const refused = await get(TOKEN, '/v1/jobs');
    expect([refused.statusCode, refused.json().code, refused.headers['retry-after']]).toEqual([503, 'overloaded', '1']);
    expect((await get('rival', '/v1/pools')).statusCode).toBe(200);
    give();
    const codes = new Set((await Promise.all(waiting)).map(({ statusCode }) => statusCode));
    expect(codes).toEqual(new Set([200]));
    expect((await get(TOKEN, '/v1/pools')).statusCode).toBe(200);
  } finally {
    await app.close();
  }
});
