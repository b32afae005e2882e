import { mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ensureDevCertificates } from '../../../platform/dev-ca.ts';
import { KubernetesApi } from '../../../platform/kubernetes/api.ts';
import { openKubernetes } from '../../../platform/kubernetes.ts';

const signal = AbortSignal.timeout(60_000);
const seen: { readonly url: string; readonly token: string | undefined; readonly body: string }[] = [];
let answer: { status: number; body: string; headers?: Readonly<Record<string, string>> };
let server: Server;
let folder: string;
let kubeconfig: string;

const write = (token: string, url?: string) => writeUser({ token }, url);
const writeUser = (user: object, url?: string) =>
  writeFile(
    kubeconfig,
    JSON.stringify({
      clusters: [
        {
          name: 'c',
          cluster: {
            server: url ?? `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
            'insecure-skip-tls-verify': true,
          },
        },
        { name: 'away', cluster: { server: 'https://203.0.113.1', 'insecure-skip-tls-verify': true } },
      ],
      users: [{ name: 'u', user }],
      contexts: [
        { name: 'x', context: { cluster: 'c', user: 'u', namespace: 'training' } },
        { name: 'unverified', context: { cluster: 'away', user: 'u' } },
      ],
      'current-context': 'x',
    }),
  );

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'merit-api-'));
  kubeconfig = join(folder, 'config');
  seen.length = 0;
  answer = { status: 200, body: '{"a": 1}' };
  server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    seen.push({ url: request.url ?? '', token: request.headers.authorization, body });
    response.writeHead(answer.status, answer.headers).end(answer.body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  await write('one');
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true });
});

test('calls carry the kubeconfig’s token until it is written anew, or that of a file, read each time', async () => {
  const api = new KubernetesApi({ kubeconfig });
  expect(await api.namespace()).toBe('training');
  expect(await api.json({ path: '/api/v1/x', query: { limit: 5, continue: undefined }, signal })).toEqual({ a: 1 });
  await write('two');
  // Files that were written within one tick of the clock are told apart all the same here.
  await utimes(kubeconfig, 1_000, 1_000);
  await api.json({ path: '/api/v1/x', signal });
  expect(seen.map(({ url, token }) => `${url} ${token}`)).toEqual([
    '/api/v1/x?limit=5 Bearer one',
    '/api/v1/x Bearer two',
  ]);
  await api.close();
  const tokenFile = join(folder, 'token');
  const filed = new KubernetesApi({ kubeconfig, tokenFile });
  for (const token of ['three\n', 'four']) {
    await writeFile(tokenFile, token);
    await filed.json({ path: '/', method: 'POST', body: { b: 2 }, signal });
  }
  expect(seen.slice(2).map(({ token, body }) => `${token} ${body}`)).toEqual([
    'Bearer three {"b":2}',
    'Bearer four {"b":2}',
  ]);
  await writeFile(tokenFile, '');
  await expect(filed.json({ path: '/', signal })).rejects.toMatchObject({ code: 'auth' });
  await filed.close();
});

test('calls that find the credentials old or refused have them read anew once, for all of them', async () => {
  const readings = join(folder, 'readings');
  const credential = { apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status: { token: 't' } };
  const args = ['-c', `echo once >>${readings}; echo '${JSON.stringify(credential)}'`];
  await writeUser({ exec: { apiVersion: credential.apiVersion, command: '/bin/sh', args, interactiveMode: 'Never' } });
  const api = new KubernetesApi({ kubeconfig });
  const all = () => Promise.allSettled(Array.from({ length: 5 }, () => api.json({ path: '/', signal })));
  const read = async () => (await readFile(readings, 'utf8')).split('\n').length - 1;
  await all();
  expect(await read()).toBe(1);
  await utimes(kubeconfig, 1_000, 1_000);
  await all();
  expect(await read()).toBe(2);
  answer = { status: 401, body: '' };
  await all();
  answer = { status: 200, body: '{}' };
  await all();
  expect(await read()).toBe(3);
  expect((await all()).map(({ status }) => status)).toEqual(Array(5).fill('fulfilled'));
  expect(await read()).toBe(3);
  await api.close();
});

test('what the server refuses keeps its status, its words and its time', async () => {
  const api = new KubernetesApi({ kubeconfig });
  answer = {
    status: 429,
    body: '{"kind":"Status","reason":"TooManyRequests","message":"later"}',
    headers: { 'retry-after': '7' },
  };
  await expect(api.json({ path: '/', signal })).rejects.toMatchObject({
    status: 429,
    reason: 'TooManyRequests',
    message: 'later',
    retryAfterMs: 7_000,
  });
  answer = { status: 502, body: '<html>a door</html>' };
  await expect(api.json({ path: '/', signal })).rejects.toMatchObject({ status: 502, message: '<html>a door</html>' });
  answer = { status: 200, body: '{"kind": "Jo' };
  await expect(api.json({ path: '/', signal })).rejects.toThrow(SyntaxError);
  answer = { status: 200, body: '0123456789' };
  expect(Buffer.from(await api.bytes({ path: '/', signal }, 4)).toString()).toBe('0123');
  answer = { status: 200, body: '{"type":"ADDED"}\n\n{"type":"DELETED"}\n{"cut' };
  const lines: string[] = [];
  for await (const line of api.lines({ path: '/', signal })) lines.push(line);
  expect(lines).toEqual(['{"type":"ADDED"}', '{"type":"DELETED"}']);
  await api.close();
});

test('access that cannot be had is told with the mend, and asks nobody', async () => {
  for (const [access, words] of [
    [{ kubeconfig: join(folder, 'none') }, 'ENOENT'],
    [{ kubeconfig, context: 'y' }, 'it has no context y'],
    [{ kubeconfig, context: 'unverified' }, 'would not be verified'],
  ] as const) {
    const api = new KubernetesApi(access);
    await expect(api.json({ path: '/', signal })).rejects.toMatchObject({
      code: 'auth',
      message: expect.stringContaining(words),
    });
    await api.close();
  }
  expect(seen).toEqual([]);
});

test('a server that would rather speak HTTP/2 is spoken to in HTTP/1.1, by calls of our own and by the client’s', async () => {
  const { merit } = await ensureDevCertificates({ dir: join(folder, 'tls'), services: ['merit'], nowMs: Date.now() });
  const [cert, key] = await Promise.all([readFile(merit.certFile), readFile(merit.keyFile)]);
  const versions: string[] = [];
  const both = createSecureServer({ cert, key, allowHTTP1: true }, (request, response) => {
    versions.push(request.httpVersion);
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"major": "1", "minor": "33"}');
  });
  await new Promise<void>((resolve) => both.listen(0, '127.0.0.1', resolve));
  await write('one', `https://127.0.0.1:${(both.address() as AddressInfo).port}`);
  const api = new KubernetesApi({ kubeconfig });
  await api.json({ path: '/version', signal });
  await api.close();
  const { config, within } = await openKubernetes({ kubeconfig });
  const { VersionApi } = await import('@kubernetes/client-node');
  const client = config.makeApiClient(VersionApi);
  for (let call = 0; call < 2; call++)
    expect(await client.getCode(undefined, within(10_000))).toMatchObject({ major: '1' });
  both.close();
  expect(versions).toEqual(['1.1', '1.1', '1.1']);
});
