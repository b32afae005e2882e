import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ConnectionOptions, connect, createServer, type Server, type TLSSocket, type TlsOptions } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { devSpiffeId, ensureDevCertificates } from '../../platform/dev-ca.ts';
import {
  clientTls,
  loadTls,
  type PeerIdentity,
  peerIdentity,
  serverTls,
  type TlsFiles,
  type TlsMaterial,
} from '../../platform/mtls.ts';
import { uriNamesOf } from '../../platform/spiffe.ts';
import { loadX509 } from '../../platform/x509.ts';

const DAY_MS = 86_400_000;
let dir: string;
let files: Readonly<Record<'server' | 'kernel', TlsFiles>>;
let server: TlsMaterial;
let kernel: TlsMaterial;
let stranger: TlsMaterial;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'merit-tls-'));
  const nowMs = Date.now();
  files = await ensureDevCertificates({ dir: join(dir, 'ca'), services: ['server', 'kernel'], nowMs });
  const others = await ensureDevCertificates({ dir: join(dir, 'other'), services: ['kernel'], nowMs });
  [server, kernel, stranger] = await Promise.all([
    loadTls(files.server, nowMs),
    loadTls(files.kernel, nowMs),
    loadTls(others.kernel, nowMs),
  ]);
});
afterAll(() => rm(dir, { recursive: true }));

/** What came of one connection: what the client received, or its error; and whom the server saw. */
interface Meeting {
  readonly received: string;
  readonly clientError: string | undefined;
  readonly seen: readonly PeerIdentity[];
  readonly protocol: string | null;
  readonly serverError: string | undefined;
}

async function meet(options: TlsOptions, client: ConnectionOptions): Promise<Meeting> {
  const seen: PeerIdentity[] = [];
  const listener: Server = createServer(options, (socket) => {
    seen.push(peerIdentity(socket));
    socket.on('error', () => {});
    socket.end('hello');
  });
  let serverError: string | undefined;
  listener.on('tlsClientError', (error: NodeJS.ErrnoException) => {
    serverError = `${error.code}: ${error.message}`;
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const { port } = listener.address() as AddressInfo;
  const meeting = await new Promise<Omit<Meeting, 'serverError'>>((resolve) => {
    let received = '';
    let clientError: string | undefined;
    let protocol: string | null = null;
    const socket: TLSSocket = connect({ ...client, host: '127.0.0.1', port });
    socket.on('secureConnect', () => {
      protocol = socket.getProtocol();
    });
    socket.on('data', (chunk) => {
      received += String(chunk);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      clientError = `${error.code}: ${error.message}`;
    });
    socket.on('close', () => resolve({ received, clientError, seen, protocol }));
  });
  await new Promise((resolve) => listener.close(resolve));
  return { ...meeting, serverError };
}

describe('two services', () => {
  test('that show certificates of one authority meet over TLS 1.3, and each knows who the other is', async () => {
    const meeting = await meet(serverTls(server), clientTls(kernel, [devSpiffeId('server')]));
    expect(meeting).toEqual({
      received: 'hello',
      clientError: undefined,
      seen: [{ ok: true, spiffeId: 'spiffe://merit.local/kernel' }],
      protocol: 'TLSv1.3',
      serverError: undefined,
    });
  });

  test('a client without a certificate gets nothing', async () => {
    const { cert: _, key: __, ...bare } = clientTls(kernel, [devSpiffeId('server')]);
    const meeting = await meet(serverTls(server), bare);
    expect(meeting).toMatchObject({
      received: '',
      seen: [],
      clientError: expect.stringContaining('CERTIFICATE_REQUIRED'),
    });
  });

  test('a client of another authority gets nothing, though it has the right name', async () => {
    const client = { ...clientTls(stranger, [devSpiffeId('server')]), ca: server.ca };
    expect(stranger.spiffeId).toBe(kernel.spiffeId);
    const meeting = await meet(serverTls(server), client);
    expect(meeting).toMatchObject({
      received: '',
      seen: [],
      serverError: expect.any(String),
    });
  });

  test('a server of another authority is left before anything is sent', async () => {
    const meeting = await meet({ ...serverTls(stranger), ca: kernel.ca }, clientTls(kernel, [stranger.spiffeId]));
    expect(meeting).toMatchObject({
      received: '',
      clientError: expect.stringMatching(/SELF_SIGNED|UNABLE_TO|signature/),
    });
  });

  test('a server with another SPIFFE id is left, and the error names both', async () => {
    const meeting = await meet(serverTls(server), clientTls(kernel, [devSpiffeId('finance')]));
    expect(meeting.received).toBe('');
    expect(meeting.clientError).toContain('spiffe://merit.local/server');
    expect(meeting.clientError).toContain('spiffe://merit.local/finance');
  });

  test('TLS 1.2 is not spoken', async () => {
    const meeting = await meet(serverTls(server), {
      ...clientTls(kernel, [devSpiffeId('server')]),
      minVersion: 'TLSv1.2',
      maxVersion: 'TLSv1.2',
    });
    expect(meeting).toMatchObject({ received: '', seen: [], clientError: expect.stringMatching(/version|protocol/i) });
  });
});

/** A certificate of our own authority with the names given. */
async function withNames(
  names: readonly { readonly type: 'url' | 'dns'; readonly value: string }[],
  notAfter = new Date(Date.now() + DAY_MS),
): Promise<TlsFiles> {
  const x509 = await loadX509();
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const caKey = Buffer.from((await readFile(join(dir, 'ca', 'ca.key'), 'utf8')).replace(/-----.*-----/g, ''), 'base64');
  const ca = new x509.X509Certificate(await readFile(files.server.caFile, 'utf8'));
  const cert = await x509.X509CertificateGenerator.create({
    serialNumber: '41',
    subject: 'CN=odd',
    issuer: ca.subject,
    notBefore: new Date(Date.now() - 2 * DAY_MS),
    notAfter,
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    signingKey: await crypto.subtle.importKey('pkcs8', caKey, algorithm, false, ['sign']),
    extensions: names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension([...names])],
  });
  const made = { certFile: join(dir, 'odd.crt'), keyFile: join(dir, 'odd.key'), caFile: files.server.caFile };
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  await writeFile(made.certFile, cert.toString('pem'));
  await writeFile(made.keyFile, `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`, { mode: 0o600 });
  return made;
}

describe('who is at the other end', () => {
  const asClient = async (names: Parameters<typeof withNames>[0]) => {
    const odd = await withNames(names);
    const client = {
      ...clientTls(kernel, [server.spiffeId]),
      cert: await readFile(odd.certFile),
      key: await readFile(odd.keyFile),
    };
    return (await meet(serverTls(server), client)).seen;
  };
  const id = devSpiffeId('kernel');

  test.each([
    ['no names at all', []],
    ['a host name only', [{ type: 'dns', value: 'kernel' }]],
    [
      'two ids',
      [
        { type: 'url', value: id },
        { type: 'url', value: devSpiffeId('admin') },
      ],
    ],
    [
      'the same id twice',
      [
        { type: 'url', value: id },
        { type: 'url', value: id },
      ],
    ],
    ['a web address', [{ type: 'url', value: 'https://merit.local/kernel' }]],
    ['an id in a host name', [{ type: 'dns', value: `URI:${id}` }]],
    ['an id with another tucked on', [{ type: 'url', value: `${id}, URI:${devSpiffeId('admin')}` }]],
  ] as const)('a trusted certificate with %s is nobody', async (_what, names) => {
    expect(await asClient(names)).toEqual([{ ok: false, problem: expect.any(String) }]);
  });

  test('host names beside the one id do no harm', async () => {
    expect(
      await asClient([
        { type: 'dns', value: 'x' },
        { type: 'url', value: id },
      ]),
    ).toEqual([{ ok: true, spiffeId: id }]);
  });

  test('a connection without a checked certificate is nobody', async () => {
    const { cert: _, key: __, ...bare } = clientTls(kernel, [server.spiffeId]);
    const meeting = await meet({ ...serverTls(server), rejectUnauthorized: false }, bare);
    expect(meeting.seen).toEqual([{ ok: false, problem: expect.stringContaining('no certificate') }]);
    const unchecked = await meet(
      { ...serverTls(server), rejectUnauthorized: false },
      { ...clientTls(stranger, [server.spiffeId]), ca: server.ca },
    );
    expect(unchecked.seen).toEqual([{ ok: false, problem: expect.stringContaining('no certificate') }]);
  });

  test('no cut or changed certificate makes the reader of names do anything but throw', () => {
    const der = new X509Certificate(server.cert).raw;
    expect(uriNamesOf(der)).toEqual([server.spiffeId]);
    for (let length = 0; length < der.length; length++) expect(() => uriNamesOf(der.subarray(0, length))).toThrow();
    for (let at = 0; at < der.length; at++) {
      const changed = Buffer.from(der);
      changed[at] = (changed[at] ?? 0) ^ 0x81;
      try {
        expect(Array.isArray(uriNamesOf(changed))).toBe(true);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
        expect((error as Error).message).toMatch(/DER|certificate|extension/);
      }
    }
  });
});

describe('the files', () => {
  test('are private, and stay as they are while they are sound', async () => {
    const caDir = join(dir, 'ca');
    const before = await Promise.all((await readdir(caDir)).map((name) => readFile(join(caDir, name), 'utf8')));
    for (const name of await readdir(caDir)) expect((await stat(join(caDir, name))).mode & 0o777, name).toBe(0o600);
    await ensureDevCertificates({ dir: caDir, services: ['server', 'kernel'], nowMs: Date.now() + 50 * DAY_MS });
    expect(await Promise.all((await readdir(caDir)).map((name) => readFile(join(caDir, name), 'utf8')))).toEqual(
      before,
    );
  });

  test('are renewed before they expire, by the same authority', async () => {
    const renewalDir = join(dir, 'renewal');
    const nowMs = Date.now();
    const first = await ensureDevCertificates({ dir: renewalDir, services: ['server'], nowMs });
    const old = await loadTls(first.server, nowMs);
    const soon = nowMs + 61 * DAY_MS;
    await ensureDevCertificates({ dir: renewalDir, services: ['server'], nowMs: soon });
    const renewed = await loadTls(first.server, soon);
    expect(renewed.ca).toEqual(old.ca);
    expect(renewed.expiresAtMs - old.expiresAtMs).toBe(61 * DAY_MS);
  });

  test('that a crash left half-written are made anew', async () => {
    const brokenDir = join(dir, 'broken');
    const nowMs = Date.now();
    const made = await ensureDevCertificates({ dir: brokenDir, services: ['server'], nowMs });
    const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' });
    await writeFile(made.server.keyFile, key, { mode: 0o600 });
    await expect(loadTls(made.server, nowMs)).rejects.toThrow(/is not the key of/);
    await ensureDevCertificates({ dir: brokenDir, services: ['server'], nowMs });
    await loadTls(made.server, nowMs);
    await writeFile(join(brokenDir, 'ca.crt'), 'half');
    await ensureDevCertificates({ dir: brokenDir, services: ['server'], nowMs });
    const material = await loadTls(made.server, nowMs);
    expect(new X509Certificate(material.cert).verify(new X509Certificate(material.ca).publicKey)).toBe(true);
  });

  test('that cannot serve are refused with the reason (G29)', async () => {
    const nowMs = Date.now();
    const empty = join(dir, 'empty.pem');
    await writeFile(empty, '');
    await expect(loadTls({ ...files.server, caFile: empty }, nowMs)).rejects.toThrow(/holds no certificate/);
    await expect(loadTls({ ...files.server, certFile: empty }, nowMs)).rejects.toThrow(/not a certificate/);
    await expect(loadTls({ ...files.server, keyFile: files.kernel.keyFile }, nowMs)).rejects.toThrow(
      /is not the key of/,
    );
    await expect(loadTls(files.server, nowMs + 91 * DAY_MS)).rejects.toMatchObject({
      code: 'auth',
      message: expect.stringMatching(/expired on \d{4}/),
    });
    await expect(loadTls(await withNames([{ type: 'dns', value: 'x' }]), nowMs)).rejects.toThrow(/has 0 URI names/);
    await chmod(files.kernel.keyFile, 0o644);
    await expect(loadTls(files.kernel, nowMs)).rejects.toThrow(/can be read by others/);
    await chmod(files.kernel.keyFile, 0o600);
  });

  test('have names of services only', async () => {
    await expect(ensureDevCertificates({ dir, services: ['../x'], nowMs: 0 })).rejects.toThrow(/a-z/);
  });
});
