import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { clientOf } from '../../../../api/cli/client.ts';

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** A server that gives these answers one after the other, and the last one for ever. */
async function answering(
  ...answers: readonly { readonly status: number; readonly code?: string; readonly after?: string }[]
) {
  const asked: IncomingMessage['headers'][] = [];
  const server = createServer((request, response) => {
    const { status, code, after } = answers[Math.min(asked.length, answers.length - 1)]!;
    asked.push(request.headers);
    response.writeHead(status, after === undefined ? {} : { 'retry-after': after });
    response.end(JSON.stringify(code === undefined ? { ok: true } : { code, detail: 'd' }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(
    () => server.close(),
    () => server.closeAllConnections(),
  );
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  return { asked, client: clientOf({ url, token: 't' } as never, new AbortController().signal) };
}

describe('the command line', () => {
  test('waits for a busy server as long as it asks, and sends the same again', async () => {
    const { asked, client } = await answering(
      { status: 503, code: 'backlog', after: '0' },
      { status: 429, code: 'rate_limited', after: '0' },
      { status: 202 },
    );
    const waits: number[] = [];
    const reply = await client.request('POST', '/v1/x', { body: {}, onWait: (ms) => waits.push(ms) });
    expect(reply.status).toBe(202);
    expect(waits).toEqual([0, 0]);
    expect(new Set(asked.map((headers) => headers['idempotency-key'])).size).toBe(1);
  });

  test('does not wait for ever, nor for a part that is away, nor where no time is told', async () => {
    const busy = await answering({ status: 503, code: 'overloaded', after: '0' });
    await expect(busy.client.get('/v1/x')).rejects.toMatchObject({ code: 'overloaded', exitCode: 6 });
    expect(busy.asked).toHaveLength(11);
    for (const answer of [
      { status: 503, code: 'unreachable', after: '1' },
      { status: 503, code: 'backlog' },
      { status: 503, code: 'backlog', after: 'soon' },
    ]) {
      const { asked, client } = await answering(answer);
      await expect(client.get('/v1/x')).rejects.toMatchObject({ code: answer.code });
      expect(asked).toHaveLength(1);
    }
  });
});
