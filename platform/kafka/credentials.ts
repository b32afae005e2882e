import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { OperatingError } from '../../core/operating-error.ts';
import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import { readPrivateFile } from '../secret-file.ts';
import { AWS_EVERY_MS, readSecretSource, type SecretSource } from '../secret-source.ts';
import type { KafkaConnection, SaslMechanism } from './client.ts';

export interface KafkaTlsFiles {
  /** undefined: the authorities that Node trusts. */
  readonly caFile: string | undefined;
  /** Of this client; both or none. */
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
}

export interface KafkaSaslConfig {
  readonly mechanism: SaslMechanism;
  readonly username: string;
  /** Where the password is, or with OAUTHBEARER the token. */
  readonly secret: SecretSource;
}

interface Files {
  readonly tls: KafkaTlsFiles | undefined;
  readonly sasl: KafkaSaslConfig | undefined;
}

/** Files are looked at this often, and Secrets Manager as all secrets there: a renewed certificate, password or token is used by the next connection. */
const LOOK_EVERY_MS = 30_000;

export interface KafkaCredentials extends Pick<KafkaConnection, 'tls' | 'sasl'> {
  /** Reads what changed; what cannot serve leaves what was read before. */
  refresh(): Promise<void>;
  close(): void;
}

interface Material {
  readonly tls: NonNullable<KafkaConnection['tls']> | undefined;
  readonly secret: string;
}

/**
 * Certificates and secrets of a connection to Kafka, read now and whenever their files change. Throws RefusedInput or OperatingError where they
 * cannot serve. `onFault` hears of a change that could not be taken.
 */
export async function openKafkaCredentials(
  files: Files,
  onFault: (error: unknown) => void = () => {},
): Promise<KafkaCredentials> {
  const { tls: tlsFiles, sasl } = files;
  const secretPath = sasl?.secret.kind === 'file' ? sasl.secret.path : undefined;
  const paths = [tlsFiles?.caFile, tlsFiles?.certFile, tlsFiles?.keyFile, secretPath];
  const watched = paths.filter((path) => path !== undefined);
  let seen = await changeTimes(watched);
  let { tls, secret } = await load(files);
  // Clients keep this object and read it with each connection: it is changed in place.
  const live: { ca?: Buffer; cert?: Buffer; key?: Buffer } | undefined = tls === undefined ? undefined : { ...tls };
  const refreshFiles = async () => {
    try {
      const now = await changeTimes(watched);
      if (now === seen) return;
      ({ tls, secret } = await load(files));
      seen = now;
      if (live !== undefined) Object.assign(live, tls);
    } catch (error) {
      onFault(error);
    }
  };
  const refreshAws = async () => {
    try {
      if (sasl?.secret.kind === 'aws') secret = await secretOf(sasl);
    } catch (error) {
      onFault(error);
    }
  };
  const timers = [setInterval(refreshFiles, LOOK_EVERY_MS)];
  if (sasl?.secret.kind === 'aws') timers.push(setInterval(refreshAws, AWS_EVERY_MS));
  for (const timer of timers) timer.unref();
  return {
    tls: live,
    sasl: sasl === undefined ? undefined : { mechanism: sasl.mechanism, username: sasl.username, secret: () => secret },
    refresh: async () => {
      await Promise.all([refreshFiles(), refreshAws()]);
    },
    close: () => timers.forEach(clearInterval),
  };
}

/** Why they cannot serve, all of it. */
export async function credentialRefusals(files: Files): Promise<readonly Refusal[]> {
  const tried = await Promise.allSettled([load({ ...files, sasl: undefined }), load({ ...files, tls: undefined })]);
  return tried.flatMap((one): readonly Refusal[] => {
    if (one.status === 'fulfilled') return [];
    const reason: unknown = one.reason;
    if (reason instanceof RefusedInput) return reason.refusals;
    if (!(reason instanceof OperatingError)) throw reason;
    return [refuse('secret_file', 'eventLog.kafka', reason.message, reason.mend ?? 'name a file that can be read')];
  });
}

async function changeTimes(paths: readonly string[]): Promise<string> {
  const times = await Promise.all(paths.map(async (path) => (await stat(path)).mtimeMs));
  return times.join(' ');
}

async function load(files: Files): Promise<Material> {
  const secret = files.sasl === undefined ? '' : await secretOf(files.sasl);
  return { tls: files.tls === undefined ? undefined : await loadTls(files.tls), secret };
}

async function secretOf({ secret }: KafkaSaslConfig): Promise<string> {
  return (await readSecretSource(secret, 'eventLog.kafka.sasl')).reveal();
}

async function loadTls({ caFile, certFile, keyFile }: KafkaTlsFiles): Promise<NonNullable<KafkaConnection['tls']>> {
  const ca = caFile === undefined ? undefined : await readCertificate(caFile, 'caFile');
  if (certFile === undefined || keyFile === undefined) return ca === undefined ? {} : { ca };
  const cert = await readCertificate(certFile, 'certFile');
  const key = await readPrivateFile(keyFile, 'eventLog.kafka.tls.keyFile');
  if (!isPair(cert, key)) throw refused('keyFile', `${keyFile} is not the key of ${certFile}`, 'name the pair');
  const expiresAt = new X509Certificate(cert).validToDate;
  if (expiresAt.getTime() <= Date.now())
    throw refused('certFile', `${certFile} expired on ${expiresAt.toISOString()}`, 'renew it');
  return { ...(ca === undefined ? {} : { ca }), cert, key };
}

function isPair(cert: Buffer, key: Buffer): boolean {
  try {
    return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
}

async function readCertificate(path: string, field: string): Promise<Buffer> {
  let pem: Buffer;
  try {
    pem = await readFile(path);
  } catch (cause) {
    throw new OperatingError('part-missing', 'never', `reading ${path}`, { cause });
  }
  try {
    new X509Certificate(pem);
  } catch {
    throw refused(field, `${path} holds no certificate in PEM`, 'name a PEM file');
  }
  return pem;
}

function refused(field: string, problem: string, mend: string): RefusedInput {
  return new RefusedInput([refuse('tls', `eventLog.kafka.tls.${field}`, problem, mend)]);
}
