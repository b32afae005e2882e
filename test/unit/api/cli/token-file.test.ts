import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Client, clientOf } from '../../../../api/cli/client.ts';
import { findConnection } from '../../../../api/cli/connection.ts';
import type { Io } from '../../../../api/cli/io.ts';

let folder: string;
let tokenFile: string;
let asked: (string | undefined)[];
let taken: string;
let close: () => void;
let client: Client;

/** As an access token of an identity provider: far longer than the installation's. */
const jwt = (mark: string) => `${mark}${'a'.repeat(3_000)}.${'b'.repeat(3_000)}.${'c'.repeat(600)}`;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'merit-token-'));
  tokenFile = join(folder, 'jwt');
  asked = [];
  taken = jwt('new');
  const server = createServer((request, response) => {
    asked.push(request.headers.authorization);
    const isTaken = request.headers.authorization === `Bearer ${taken}`;
    response.writeHead(isTaken ? 200 : 401).end(JSON.stringify(isTaken ? { ok: true } : { code: 'unauthenticated' }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  close = () => {
    server.closeAllConnections();
    server.close();
  };
  await writeFile(tokenFile, `${jwt('old')}\n`, { mode: 0o600 });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const env = { MERIT_URL: url, MERIT_TOKEN_FILE: tokenFile };
  client = clientOf(await findConnection({ env, cwd: folder } as unknown as Io), new AbortController().signal);
});
afterEach(async () => {
  close();
  await rm(folder, { recursive: true });
});

test('a token of an identity provider that was renewed in its file while a command runs is used from then on', async () => {
  await writeFile(tokenFile, `${jwt('new')}\n`, { mode: 0o600 });
  expect(await client.json('POST', '/v1/x', { body: {} })).toEqual({ ok: true });
  expect(await client.get('/v1/x')).toEqual({ ok: true });
  expect(asked).toEqual([jwt('old'), jwt('new'), jwt('new')].map((token) => `Bearer ${token}`));
});

test('one that is refused and was not renewed is sent once', async () => {
  await expect(client.get('/v1/x')).rejects.toMatchObject({ code: 'unauthenticated' });
  expect(asked.length).toBe(1);
});
