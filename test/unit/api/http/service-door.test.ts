import { type webcrypto, X509Certificate } from 'node:crypto';
import { appendFile, copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import type { FastifyInstance } from 'fastify';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { identifier, serviceIdentifier } from '../../../../api/http/identify.ts';
import { buildHttpServer } from '../../../../api/http/server.ts';
import { openServiceDoor, type ServiceDoor } from '../../../../api/http/service-door.ts';
import { type Clock, systemClock } from '../../../../platform/clock.ts';
import { devSpiffeId, ensureDevCertificates } from '../../../../platform/dev-ca.ts';
import { type HttpClient, openHttpClient } from '../../../../platform/http-client.ts';
import { clientTls, loadTls, type TlsFiles } from '../../../../platform/mtls.ts';
import { openRotatingTls, type RotatingTls } from '../../../../platform/tls-rotation.ts';
import { loadX509 } from '../../../../platform/x509.ts';
import { fakeServices } from './fake-services.ts';

const LIMIT_MS = 30_000;
const SERVER = devSpiffeId('merit');
const closers: (() => Promise<unknown>)[] = [];
let dir: string;
/** Two authorities that know nothing of each other, each with a certificate for both. */
let old: Readonly<Record<'merit' | 'kernel', TlsFiles>>;
let young: Readonly<Record<'merit' | 'kernel', TlsFiles>>;
/** The files that each side looks at. */
let server: TlsFiles;
let kernel: TlsFiles;
let app: FastifyInstance;
let door: ServiceDoor;
let tls: RotatingTls;
let ahead = 0;
/** While it is set every list of jobs waits for it. */
let gate: Promise<void> | undefined;
let waiting = 0;
const clock: Clock = { ...systemClock, now: () => Date.now() + ahead };

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'merit-door-'));
  ahead = 0;
  const nowMs = Date.now();
  const services = ['merit', 'kernel'] as const;
  old = await ensureDevCertificates({ dir: join(dir, 'old'), services, nowMs });
  young = await ensureDevCertificates({ dir: join(dir, 'young'), services, nowMs });
  [server, kernel] = await Promise.all([used('server', old.merit), used('client', old.kernel)]);
  tls = await openRotatingTls(server, clock);
  const fake = fakeServices();
  const caller = { spiffeId: devSpiffeId('kernel'), tenant: 'acme', roles: ['viewer'] as const, producers: [] };
  app = buildHttpServer({
    ...fake.services,
    jobs: {
      ...fake.services.jobs,
      list: async (...args) => {
        waiting++;
        await gate;
        return fake.services.jobs.list(...args);
      },
    },
    identify: identifier({
      local: { token: 'none', identity: { principal: 'p', tenant: 't', functions: [], producers: [] } },
      oidc: undefined,
      service: serviceIdentifier({ callers: [caller], tls, clock }),
    }),
  });
  door = await openServiceDoor({ app, tls, listen: { host: '127.0.0.1', port: 0 } });
  closers.push(
    () => rm(dir, { recursive: true }),
    () => app.close(),
    () => door.close(0),
  );
});
afterEach(async () => {
  gate = undefined;
  for (const close of closers.splice(0).toReversed()) await close();
});

async function used(name: string, from: TlsFiles): Promise<TlsFiles> {
  const to = { certFile: join(dir, `${name}.crt`), keyFile: join(dir, `${name}.key`), caFile: join(dir, `${name}.ca`) };
  await copyFile(from.caFile, to.caFile);
  await pair(from, to);
  return to;
}

async function pair(from: TlsFiles, to: TlsFiles): Promise<void> {
  await copyFile(from.keyFile, to.keyFile);
  await copyFile(from.certFile, to.certFile);
}

const trustBoth = async (files: TlsFiles) => appendFile(files.caFile, await readFile(young.merit.caFile));
const serialOf = async (files: TlsFiles) => new X509Certificate(await readFile(files.certFile)).serialNumber;

function clientOf(certificate: RotatingTls): HttpClient {
  const client = openHttpClient({ origin: door.url, tls: certificate.client([SERVER]), maxConnections: 4 });
  closers.push(() => client.close());
  return client;
}

const jobs = (client: HttpClient) => client.send({ method: 'GET', path: '/v1/jobs', timeoutMs: LIMIT_MS });

/** The certificate that a new connection is shown. */
async function shownSerial(files: TlsFiles): Promise<string | undefined> {
  const socket = connect({
    ...clientTls(await loadTls(files, Date.now()), [SERVER]),
    host: '127.0.0.1',
    port: Number(new URL(door.url).port),
  });
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  const serial = socket.getPeerX509Certificate()?.serialNumber;
  socket.destroy();
  return serial;
}

test('certificates and authorities of both sides are replaced under load, step by step, and no request is dropped', async () => {
  const mine = await openRotatingTls(kernel, clock);
  const client = clientOf(mine);
  const statuses = new Map<number, number>();
  const failures: unknown[] = [];
  let isOver = false;
  const asking = Array.from({ length: 4 }, async () => {
    while (!isOver) {
      try {
        const { status } = await jobs(client);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      } catch (error) {
        failures.push(error);
      }
    }
  });
  const underWay = async (change: () => Promise<unknown>): Promise<void> => {
    let open = () => {};
    gate = new Promise((resolve) => {
      open = resolve;
    });
    waiting = 0;
    // All four are held by the server, on connections of before.
    while (waiting < 4) await systemClock.sleep(1);
    await change();
    gate = undefined;
    open();
    const enough = (statuses.get(200) ?? 0) + 40;
    while ((statuses.get(200) ?? 0) < enough && failures.length === 0) await systemClock.sleep(1);
  };
  const changed = async (rotating: RotatingTls) => expect(await rotating.refresh()).toEqual({ changed: true });

  await underWay(async () => {
    await trustBoth(server);
    await trustBoth(kernel);
    await changed(tls);
    await changed(mine);
  });
  await underWay(async () => {
    await pair(young.merit, server);
    await changed(tls);
  });
  expect(await shownSerial(kernel)).toBe(await serialOf(young.merit));
  await underWay(async () => {
    await pair(young.kernel, kernel);
    await changed(mine);
  });
  await underWay(async () => {
    await copyFile(young.merit.caFile, server.caFile);
    await copyFile(young.merit.caFile, kernel.caFile);
    await changed(tls);
    await changed(mine);
  });
  isOver = true;
  await Promise.all(asking);
  expect(failures).toEqual([]);
  expect([...statuses.keys()]).toEqual([200]);
  await expect(jobs(clientOf(await openRotatingTls(old.kernel, clock)))).rejects.toThrow();
});

/** Asks over one open connection, and says what was answered. */
async function askOver(socket: TLSSocket): Promise<string> {
  socket.write('GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\n\r\n');
  let text = '';
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    text += String(chunk);
    const length = /content-length: ([0-9]+)/i.exec(text)?.[1];
    const head = text.indexOf('\r\n\r\n');
    if (head >= 0 && text.length >= head + 4 + Number(length ?? 0)) break;
  }
  return text;
}

async function opened(): Promise<TLSSocket> {
  const socket = connect({
    ...clientTls(await loadTls(old.kernel, Date.now()), [SERVER]),
    host: '127.0.0.1',
    port: Number(new URL(door.url).port),
  });
  closers.push(async () => socket.destroy());
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  return socket;
}

test('a caller whose authority is trusted no more is refused on the connection that it has open', async () => {
  const socket = await opened();
  expect(await askOver(socket)).toMatch(/^HTTP\/1.1 200/);
  await copyFile(young.merit.caFile, server.caFile);
  await tls.refresh();
  const answer = await askOver(socket);
  expect(answer).toMatch(/^HTTP\/1.1 401/);
  expect(answer).toContain('is of an authority that is trusted no more');
  expect(answer).toMatch(/connection: close/i);
});

test('a caller whose certificate comes through an intermediate is known, on a resumed session and after our own certificate was replaced too', async () => {
  const chain = await throughIntermediate();
  await appendFile(server.caFile, chain.root);
  await tls.refresh();
  const options = {
    ...clientTls(await loadTls(old.kernel, Date.now()), [SERVER]),
    ...{ cert: chain.certificates, key: chain.key, host: '127.0.0.1', port: Number(new URL(door.url).port) },
  };
  const meet = async (session?: Buffer): Promise<TLSSocket> => {
    const socket = connect({ ...options, ...(session === undefined ? {} : { session }) });
    closers.push(async () => socket.destroy());
    await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
    return socket;
  };
  const first = await meet();
  const session = new Promise<Buffer>((resolve) => first.once('session', resolve));
  expect(await askOver(first)).toMatch(/^HTTP\/1.1 200/);
  const second = await meet(await session);
  expect(second.isSessionReused()).toBe(true);
  expect(await askOver(second)).toMatch(/^HTTP\/1.1 200/);
  await pair(
    (await ensureDevCertificates({ dir: join(dir, 'old'), services: ['spare'], nowMs: Date.now() })).spare,
    server,
  );
  await tls.refresh();
  expect(await askOver(second)).toMatch(/^HTTP\/1.1 200/);
});

/** A root, an intermediate of it and the kernel's certificate of that. */
async function throughIntermediate() {
  const x509 = await loadX509();
  const alg = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const made = () => crypto.subtle.generateKey(alg, true, ['sign', 'verify']) as Promise<webcrypto.CryptoKeyPair>;
  const [root, middle, leaf] = [await made(), await made(), await made()];
  const of = {
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 86_400_000),
    signingAlgorithm: alg,
  };
  const isCa = [new x509.BasicConstraintsExtension(true, undefined, true)];
  const above = await x509.X509CertificateGenerator.create({
    ...of,
    serialNumber: '01',
    subject: 'CN=root',
    issuer: 'CN=root',
    publicKey: root.publicKey,
    signingKey: root.privateKey,
    extensions: isCa,
  });
  const between = await x509.X509CertificateGenerator.create({
    ...of,
    serialNumber: '02',
    subject: 'CN=middle',
    issuer: 'CN=root',
    publicKey: middle.publicKey,
    signingKey: root.privateKey,
    extensions: isCa,
  });
  const own = await x509.X509CertificateGenerator.create({
    ...of,
    serialNumber: '03',
    subject: 'CN=kernel',
    issuer: 'CN=middle',
    publicKey: leaf.publicKey,
    signingKey: middle.privateKey,
    extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'url', value: devSpiffeId('kernel') }])],
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', leaf.privateKey)).toString('base64');
  return {
    root: `${above.toString('pem')}\n`,
    certificates: `${own.toString('pem')}\n${between.toString('pem')}\n`,
    key: `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`,
  };
}

test('a caller whose certificate ends while its connection is open is refused on it', async () => {
  const socket = await opened();
  expect(await askOver(socket)).toMatch(/^HTTP\/1.1 200/);
  ahead = 91 * 86_400_000;
  expect(await askOver(socket)).toContain('the certificate has expired');
});

test('a pair that is half written changes nothing, and is taken once it is whole', async () => {
  await trustBoth(server);
  await tls.refresh();
  await copyFile(young.merit.keyFile, server.keyFile);
  const { changed, fault } = await tls.refresh();
  expect([changed, String(fault)]).toEqual([false, expect.stringContaining('is not the key of')]);
  expect(await shownSerial(old.kernel)).toBe(await serialOf(old.merit));
  // Told once.
  expect(await tls.refresh()).toEqual({ changed: false });
  await copyFile(young.merit.certFile, server.certFile);
  expect(await tls.refresh()).toEqual({ changed: true });
  expect(tls.current().spiffeId).toBe(SERVER);
});

test('what is no sound HTTP request, and CONNECT, are answered at this door as at the other', async () => {
  const ask = async (text: string) => {
    const socket = await opened();
    socket.end(text);
    let answer = '';
    for await (const chunk of socket) answer += String(chunk);
    return answer.split('\r\n')[0];
  };
  expect(await ask('GET / HTTP/1.1\r\nno colon\r\n\r\n')).toBe('HTTP/1.1 400 Bad Request');
  expect(await ask('CONNECT a:1 HTTP/1.1\r\nhost: localhost\r\n\r\n')).toBe('HTTP/1.1 405 Method Not Allowed');
  expect(await ask(`GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\nx: ${'a'.repeat(17_000)}\r\n\r\n`)).toContain(' 431 ');
  expect(await ask('GET /v1/jobs HTTP/1.1\r\nhost: elsewhere.example\r\nconnection: close\r\n\r\n')).toContain(' 421 ');
});
