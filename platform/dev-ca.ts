import { createPrivateKey, randomBytes, type webcrypto, X509Certificate } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type * as X509 from '@peculiar/x509';
import { slugRefusal } from '../core/ids.ts';
import { OperatingError } from '../core/operating-error.ts';
import { RefusedInput } from '../core/refusal.ts';
import type { TlsFiles } from './mtls.ts';
import { replaceFileSync } from './processes.ts';
import { uriNamesOf } from './spiffe.ts';
import { loadX509 } from './x509.ts';

/** The trust domain of certificates that Merit makes itself. They serve one machine; a deployment brings its own authority. */
const DEV_TRUST_DOMAIN = 'merit.local';

const DAY_MS = 24 * 3_600_000;
const CA_LIFETIME_MS = 3650 * DAY_MS;
const LEAF_LIFETIME_MS = 90 * DAY_MS;
/** Renewed when less than this is left. */
const LEAF_RENEWAL_MS = 30 * DAY_MS;
/** Certificates begin a little in the past: a peer's clock may be behind ours. */
const CLOCK_SKEW_MS = 5 * 60_000;
const SERIAL_BYTES = 16;
const KEY_ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

export function devSpiffeId(service: string): string {
  return `spiffe://${DEV_TRUST_DOMAIN}/${service}`;
}

/**
 * Makes or renews the development authority in `dir` and a certificate for each service: P-256, one SPIFFE id, and the loopback
 * names. What is sound is left as it is. All files are 0600.
 */
export async function ensureDevCertificates<Service extends string>(options: {
  readonly dir: string;
  readonly services: readonly Service[];
  readonly nowMs: number;
}): Promise<Readonly<Record<Service, TlsFiles>>> {
  const { dir, services, nowMs } = options;
  const refusals = services.flatMap((service) => slugRefusal('service', service) ?? []);
  if (refusals.length > 0) throw new RefusedInput(refusals);
  const files = (service: string): TlsFiles => ({
    certFile: join(dir, `${service}.crt`),
    keyFile: join(dir, `${service}.key`),
    caFile: join(dir, 'ca.crt'),
  });
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const authority = await ensureAuthority(dir, nowMs);
    for (const service of services) await ensureLeaf(authority, service, files(service), nowMs);
  } catch (cause) {
    throw new OperatingError('storage', 'safe', `making certificates in ${dir}`, { cause });
  }
  return Object.fromEntries(services.map((service) => [service, files(service)])) as Record<Service, TlsFiles>;
}

interface Pair {
  readonly cert: X509Certificate;
  readonly keyPem: string;
}

async function readPair(certFile: string, keyFile: string): Promise<Pair | undefined> {
  try {
    const [certPem, keyPem] = await Promise.all([readFile(certFile, 'utf8'), readFile(keyFile, 'utf8')]);
    const cert = new X509Certificate(certPem);
    return cert.checkPrivateKey(createPrivateKey(keyPem)) ? { cert, keyPem } : undefined;
  } catch {
    // Absent, or a crash left half of it: made anew.
    return undefined;
  }
}

async function ensureAuthority(dir: string, nowMs: number): Promise<Pair> {
  const [certFile, keyFile] = [join(dir, 'ca.crt'), join(dir, 'ca.key')];
  const kept = await readPair(certFile, keyFile);
  if (kept !== undefined && kept.cert.validToDate.getTime() - nowMs > LEAF_LIFETIME_MS) return kept;
  const x509 = await loadX509();
  const keys = await newKeys();
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: 'CN=Merit development authority',
    notBefore: new Date(nowMs - CLOCK_SKEW_MS),
    notAfter: new Date(nowMs + CA_LIFETIME_MS),
    signingAlgorithm: KEY_ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  await writePair(cert, keys, certFile, keyFile);
  const made = await readPair(certFile, keyFile);
  if (made === undefined) throw new Error('the authority that was written cannot be read back');
  return made;
}

async function ensureLeaf(authority: Pair, service: string, files: TlsFiles, nowMs: number): Promise<void> {
  const kept = await readPair(files.certFile, files.keyFile);
  if (kept !== undefined && isSound(kept.cert, authority, service, nowMs)) return;
  const x509 = await loadX509();
  const keys = await newKeys();
  const cert = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: `CN=${service}`,
    issuer: new x509.X509Certificate(authority.cert.raw).subject,
    notBefore: new Date(nowMs - CLOCK_SKEW_MS),
    notAfter: new Date(nowMs + LEAF_LIFETIME_MS),
    signingAlgorithm: KEY_ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: await importKey(authority.keyPem),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      new x509.SubjectAlternativeNameExtension([
        { type: 'url', value: devSpiffeId(service) },
        { type: 'dns', value: 'localhost' },
        { type: 'ip', value: '127.0.0.1' },
        { type: 'ip', value: '::1' },
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(new x509.X509Certificate(authority.cert.raw)),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  await writePair(cert, keys, files.certFile, files.keyFile);
}

function isSound(cert: X509Certificate, authority: Pair, service: string, nowMs: number): boolean {
  const fresh = cert.validFromDate.getTime() <= nowMs && cert.validToDate.getTime() - nowMs > LEAF_RENEWAL_MS;
  const names = uriNamesOf(cert.raw);
  return fresh && names.length === 1 && names[0] === devSpiffeId(service) && cert.verify(authority.cert.publicKey);
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return globalThis.crypto.subtle.generateKey(KEY_ALGORITHM, true, [
    'sign',
    'verify',
  ]) as Promise<webcrypto.CryptoKeyPair>;
}

function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const der = createPrivateKey(pem).export({ type: 'pkcs8', format: 'der' });
  return globalThis.crypto.subtle.importKey('pkcs8', new Uint8Array(der), KEY_ALGORITHM, false, ['sign']);
}

/** Positive and 128 bits of chance. */
function serial(): string {
  const bytes = randomBytes(SERIAL_BYTES);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}

async function writePair(
  cert: X509.X509Certificate,
  keys: webcrypto.CryptoKeyPair,
  certFile: string,
  keyFile: string,
): Promise<void> {
  const der = await globalThis.crypto.subtle.exportKey('pkcs8', keys.privateKey);
  const key = createPrivateKey({ key: Buffer.from(der), format: 'der', type: 'pkcs8' });
  replaceFileSync(keyFile, key.export({ type: 'pkcs8', format: 'pem' }).toString());
  replaceFileSync(certFile, `${cert.toString('pem')}\n`);
}
