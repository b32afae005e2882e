import { createHash } from 'node:crypto';
import { sha256Hex } from '../../core/canonical.ts';
import { tarOf } from '../cloud/tar.ts';
import { type AttemptSpec, ProviderError, readWorkdir } from '../provider.ts';
import type { Clients } from './clients.ts';
import type { VertexConfig } from './config.ts';
import { httpErrorOf } from './errors.ts';
import { CODE_FILE, START_FILE, type StagedFile, startScript } from './start-script.ts';

const WORKDIR_LIMIT_BYTES = 100 * 1024 * 1024;

/**
 * What a job starts from, in Cloud Storage, named by its content: a workdir lies there once whoever uses it, and of two submits of an attempt none changes
 * what the other's job finds. Nothing is deleted here: a rule of the bucket does that (docs/vertex.md).
 */
export class Staging {
  readonly #gcs: string;
  readonly #clients: Clients;

  constructor({ gcs }: VertexConfig, clients: Clients) {
    this.#gcs = gcs;
    this.#clients = clients;
  }

  /** The job's start. No job comes to be of it: whatever it throws, ProviderError, has effect none. */
  async stage(spec: AttemptSpec, signal: AbortSignal): Promise<StagedFile> {
    const code =
      spec.workdir === undefined
        ? undefined
        : await this.#put(
            'code',
            CODE_FILE,
            tarOf(await readWorkdir(spec.workdir, signal, WORKDIR_LIMIT_BYTES)),
            signal,
          );
    const script = Buffer.from(startScript(spec, code));
    return this.#put(`runs/${spec.key}`, START_FILE, script, signal);
  }

  /** Keeps what is there already: `ifGenerationMatch=0` is Cloud Storage's own condition. */
  async #put(folder: string, file: string, bytes: Buffer, signal: AbortSignal): Promise<StagedFile> {
    const sha256 = sha256Hex(bytes);
    const uri = `${this.#gcs}/${folder}/${sha256}/${file}`;
    const [, bucket = '', name = ''] = /^gs:\/\/([^/]+)\/(.*)$/.exec(uri) ?? [];
    const doing = `staging the job below ${this.#gcs}`;
    const object = `/b/${encodeURIComponent(bucket)}/o`;
    let reply = await this.#clients.storage({
      doing,
      signal,
      method: 'POST',
      path: `/upload/storage/v1${object}?uploadType=media&ifGenerationMatch=0&fields=md5Hash&name=${encodeURIComponent(name)}`,
      type: 'application/octet-stream',
      body: bytes,
    });
    if (reply.status === 412)
      reply = await this.#clients.storage({
        doing,
        signal,
        method: 'GET',
        path: `/storage/v1${object}/${encodeURIComponent(name)}?fields=md5Hash`,
      });
    if (reply.status !== 200) throw httpErrorOf(reply.status, reply.body, doing, reply.headers['retry-after']);
    if (md5In(reply.body) !== createHash('md5').update(bytes).digest('base64'))
      throw new ProviderError('invalid', `${uri} was altered: delete it, and look who may write there`);
    return { uri, sha256 };
  }
}

/** Cloud Storage knows no SHA-256; of objects that were uploaded whole it tells the MD5. */
function md5In(body: Uint8Array): unknown {
  try {
    return (JSON.parse(Buffer.from(body).toString('utf8')) as { md5Hash?: unknown }).md5Hash;
  } catch {
    return undefined;
  }
}
