import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { SlurmConfig } from '../../../../providers/slurm/config.ts';
import { RestClient } from '../../../../providers/slurm/rest-client.ts';

/** Not slurmrestd: what it would be asked, and whatever a test lets it answer. Tokens are seen here alone, for Debian's Slurm has no auth/jwt. */
let folder: string;
let answer: (incoming: IncomingMessage, outgoing: ServerResponse) => void;
let seen: { readonly url: string | undefined; readonly headers: IncomingMessage['headers'] }[];
let client: RestClient;
const server = createServer((incoming, outgoing) => {
  seen.push({ url: incoming.url, headers: incoming.headers });
  incoming.resume();
  answer(incoming, outgoing);
});
const config = (fields: Partial<SlurmConfig>): SlurmConfig => ({
  user: 'merit',
  shared: '/shared',
  partition: 'gpu',
  flavours: [],
  ...fields,
});
const ask = (method: 'GET' | 'POST' = 'GET') =>
  client.ask({ doing: 'asking', method, path: 'jobs', signal: AbortSignal.timeout(10_000) });
const says = (status: number, body: string, headers = {}) => {
  answer = (_, outgoing) => outgoing.writeHead(status, headers).end(body);
};

beforeEach(async () => {
  seen = [];
  folder = await mkdtemp(join(tmpdir(), 'merit-slurmrestd-'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  await writeFile(join(folder, 'token'), 'SLURM_JWT=first\n');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  client = new RestClient(config({ url, tokenFile: join(folder, 'token') }));
  says(200, '{"jobs":[],"errors":[]}');
});
afterEach(async () => {
  await client.close();
  server.closeAllConnections();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  await rm(folder, { recursive: true, force: true });
});

test('each call names its user and brings the token that the file holds then', async () => {
  expect(await ask()).toEqual({ jobs: [], errors: [] });
  await writeFile(join(folder, 'token'), 'second\n');
  await ask();
  expect(seen.map(({ url, headers }) => [url, headers['x-slurm-user-name'], headers['x-slurm-user-token']])).toEqual([
    ['/slurm/v0.0.38/jobs', 'merit', 'first'],
    ['/slurm/v0.0.38/jobs', 'merit', 'second'],
  ]);
  await rm(join(folder, 'token'));
  await expect(ask()).rejects.toMatchObject({ code: 'auth', message: expect.stringContaining('scontrol token') });
  expect(seen).toHaveLength(2);
});

test('a slurmrestd without that version, and one that refuses the token, are told with the mend', async () => {
  says(404, 'Unable find requested URL.');
  await expect(ask()).rejects.toMatchObject({ code: 'invalid', message: expect.stringContaining('openapi/v0.0.38') });
  says(401, 'Authentication failure');
  await expect(ask('POST')).rejects.toMatchObject({ code: 'auth', effect: 'none' });
});

test('errors in a reply that is well otherwise are errors', async () => {
  says(
    200,
    '{"errors":[{"error_number":1800,"error":"Unable to contact slurm controller (connect failure)"}],"jobs":[]}',
  );
  await expect(ask()).rejects.toMatchObject({ code: 'transient', effect: 'none' });
  await expect(ask('POST')).rejects.toMatchObject({ code: 'transient', effect: 'unknown' });
});

test('a reply that is none to something that changes has an unknown effect, and nobody there has none', async () => {
  says(200, '{"job_id": 1');
  await expect(ask('POST')).rejects.toMatchObject({ code: 'transient', effect: 'unknown' });
  await expect(ask()).rejects.toMatchObject({ code: 'transient', effect: 'none' });
  answer = (incoming) => incoming.socket.destroy();
  await expect(ask('POST')).rejects.toMatchObject({ code: 'transient', effect: 'unknown' });
  await client.close();
  client = new RestClient(config({ socket: join(folder, 'none.sock') }));
  await expect(ask('POST')).rejects.toMatchObject({ code: 'transient', effect: 'none' });
  const closed = createTcpServer();
  await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
  const { port } = closed.address() as AddressInfo;
  await new Promise<void>((resolve) => closed.close(() => resolve()));
  client = new RestClient(config({ url: `http://127.0.0.1:${port}`, tokenFile: join(folder, 'token') }));
  await expect(ask('POST')).rejects.toMatchObject({ code: 'transient', effect: 'none' });
});
