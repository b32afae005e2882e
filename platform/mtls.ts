import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { ConnectionOptions, PeerCertificate, TLSSocket, TlsOptions } from 'node:tls';
import { assert } from '../core/assert.ts';
import { OperatingError } from '../core/operating-error.ts';
import { RefusedInput, refuse } from '../core/refusal.ts';
import { readPrivateFile } from './secret-file.ts';
import { spiffeRefusal, uriNamesOf } from './spiffe.ts';

/** PEM files of one service: its certificate (with intermediates), its key (0600) and the authorities it trusts. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile: string;
}

/** What the files hold, checked: the key fits the certificate, which is valid now and names one SPIFFE id. */
export interface TlsMaterial {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca: Buffer;
  readonly spiffeId: string;
  readonly expiresAtMs: number;
}

export type PeerIdentity =
  | { readonly ok: true; readonly spiffeId: string }
  | { readonly ok: false; readonly problem: string };

/** A resumed session skips the handshake that shows the certificate: it may live no longer than this. */
const SESSION_LIFETIME_S = 300;

/** Reads and checks the files. RefusedInput where they cannot serve, `auth` where the certificate has expired. */
export async function loadTls(files: TlsFiles, nowMs: number): Promise<TlsMaterial> {
  const [cert, ca] = await Promise.all([readPem(files.certFile), readPem(files.caFile)]);
  const key = await readPrivateFile(files.keyFile, 'tls.keyFile');
  const refused = (field: string, problem: string, mend: string) =>
    new RefusedInput([refuse('tls', field, problem, mend)]);
  if (!ca.includes('-----BEGIN CERTIFICATE-----')) {
    throw refused('tls.caFile', `${files.caFile} holds no certificate`, 'name the authorities you trust');
  }
  let leaf: X509Certificate;
  try {
    leaf = new X509Certificate(cert);
    new X509Certificate(ca);
  } catch {
    throw refused(
      'tls.certFile',
      `${files.certFile} or ${files.caFile} is not a certificate in PEM`,
      'name a PEM file',
    );
  }
  try {
    if (!leaf.checkPrivateKey(createPrivateKey(key))) throw new Error('mismatch');
  } catch {
    throw refused('tls.keyFile', `${files.keyFile} is not the key of ${files.certFile}`, 'name the pair');
  }
  const expiresAtMs = leaf.validToDate.getTime();
  if (expiresAtMs <= nowMs) {
    throw new OperatingError('auth', 'never', `reading ${files.certFile}`, {
      cause: `the certificate expired on ${leaf.validToDate.toISOString()}`,
      mend: 'renew it',
    });
  }
  const identity = identityOf(leaf.raw);
  if (!identity.ok)
    throw refused('tls.certFile', `${files.certFile} ${identity.problem}`, 'issue it with one SPIFFE id');
  return { cert, key, ca, spiffeId: identity.spiffeId, expiresAtMs };
}

async function readPem(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new OperatingError('part-missing', 'never', `reading ${path}`, { cause });
  }
}

/** TLS 1.3 only; who shows no certificate of our authorities does not get past the handshake. */
export function serverTls(material: TlsMaterial): TlsOptions {
  return {
    cert: material.cert,
    key: material.key,
    ca: material.ca,
    minVersion: 'TLSv1.3',
    requestCert: true,
    rejectUnauthorized: true,
    sessionTimeout: SESSION_LIFETIME_S,
  };
}

/**
 * TLS 1.3 only, with our certificate; the server must be one of `expected` by its SPIFFE id. Its host name is not looked at: the id is the
 * stronger name, and services move between hosts.
 */
export function clientTls(material: TlsMaterial, expected: readonly string[]): ConnectionOptions {
  assert(expected.length > 0, 'a client says whom it expects');
  return {
    cert: material.cert,
    key: material.key,
    ca: material.ca,
    minVersion: 'TLSv1.3',
    rejectUnauthorized: true,
    checkServerIdentity: (_host: string, certificate: PeerCertificate) => {
      const identity = identityOf(certificate.raw);
      if (identity.ok && expected.includes(identity.spiffeId)) return undefined;
      const found = identity.ok ? `is ${identity.spiffeId}` : identity.problem;
      return Object.assign(new Error(`the server's certificate ${found}, expected ${expected.join(' or ')}`), {
        code: 'ERR_SPIFFE_ID',
      });
    },
  };
}

/** Who is at the other end of a connection that `serverTls` or `clientTls` made: exactly one SPIFFE id, from the certificate itself. */
export function peerIdentity(socket: TLSSocket): PeerIdentity {
  if (!socket.authorized) return { ok: false, problem: 'no certificate of a trusted authority was shown' };
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return { ok: false, problem: 'no certificate was shown' };
  return identityOf(certificate.raw);
}

/** Certificates between a leaf and its authority that are looked through. */
const MAX_CHAIN = 8;

/**
 * As `peerIdentity`, now: a connection outlives its handshake, so that its certificate may have ended since, or the authority that it was taken for may
 * be none of ours any more.
 */
export function peerIdentityNow(socket: TLSSocket, material: TlsMaterial, nowMs: number): PeerIdentity {
  let seen = looked.get(socket);
  if (seen?.under !== material) {
    const isSame = seen?.under.ca.equals(material.ca) === true;
    seen = { ...(seen !== undefined && isSame ? seen : peerUnder(socket, material)), under: material };
    looked.set(socket, seen);
  }
  return seen.endsAtMs > nowMs ? seen.identity : { ok: false, problem: 'has expired' };
}

/**
 * Notes who a handshake has just let in under this material. It checked the whole chain, and only it can: of intermediates that a client sent Node tells a
 * server nothing, nor does a resumed session.
 */
export function notePeer(socket: TLSSocket, material: TlsMaterial): void {
  const endsAtMs = socket.getPeerX509Certificate()?.validToDate.getTime() ?? Number.POSITIVE_INFINITY;
  looked.set(socket, { identity: peerIdentity(socket), endsAtMs, under: material });
}

interface Looked {
  readonly identity: PeerIdentity;
  readonly endsAtMs: number;
}

/** Signatures are checked once a connection and authority, not at each request. */
const looked = new WeakMap<TLSSocket, Looked & { readonly under: TlsMaterial }>();

function peerUnder(socket: TLSSocket, material: TlsMaterial): Looked {
  const identity = peerIdentity(socket);
  let at = socket.getPeerX509Certificate();
  const endsAtMs = at?.validToDate.getTime() ?? Number.POSITIVE_INFINITY;
  if (!identity.ok) return { identity, endsAtMs };
  const authorities = authoritiesOf(material);
  for (let i = 0; i < MAX_CHAIN && at !== undefined; i++) {
    const cert = at;
    const isTrusted = authorities.some((one) => cert.fingerprint256 === one.fingerprint256 || isIssuedBy(cert, one));
    if (isTrusted) return { identity, endsAtMs };
    at = at.issuerCertificate;
  }
  return { identity: { ok: false, problem: 'is of an authority that is trusted no more' }, endsAtMs };
}

function isIssuedBy(cert: X509Certificate, authority: X509Certificate): boolean {
  return cert.checkIssued(authority) && cert.verify(authority.publicKey);
}

function authoritiesOf(material: TlsMaterial): readonly X509Certificate[] {
  const blocks =
    material.ca.toString('latin1').match(/-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

function identityOf(der: Uint8Array): PeerIdentity {
  let names: readonly string[];
  try {
    names = uriNamesOf(der);
  } catch {
    return { ok: false, problem: 'is malformed' };
  }
  const [spiffeId] = names;
  if (spiffeId === undefined || names.length !== 1)
    return { ok: false, problem: `has ${names.length} URI names, not one` };
  if (spiffeRefusal('', spiffeId) !== undefined) return { ok: false, problem: 'has a URI name that is no SPIFFE id' };
  return { ok: true, spiffeId };
}
