import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { ByteRange, ObjectStore } from '../../platform/object-store.ts';
import type { S3Reader } from '../../platform/s3.ts';

/** An object store in a map. */
export class MemoryObjects implements ObjectStore {
  readonly #objects = new Map<string, Buffer>();

  async put(key: string, body: Readable | Uint8Array, options: { readonly ifAbsent?: boolean } = {}) {
    const chunks: Uint8Array[] = [];
    if (body instanceof Uint8Array) chunks.push(body);
    else for await (const chunk of body) chunks.push(chunk as Uint8Array);
    const known = options.ifAbsent === true ? this.#objects.get(key) : undefined;
    const bytes = known ?? Buffer.concat(chunks);
    this.#objects.set(key, bytes);
    return { key, size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
  }

  async get(key: string, { from = 0, to }: ByteRange = {}) {
    const bytes = this.#objects.get(key);
    return bytes === undefined ? undefined : Readable.from([bytes.subarray(from, to)]);
  }

  async head(key: string) {
    const bytes = this.#objects.get(key);
    return bytes === undefined ? undefined : { size: bytes.length };
  }

  async *list(prefix: string) {
    for (const [key, bytes] of this.#objects)
      if (key.startsWith(prefix)) yield { key, size: bytes.length, modifiedAtMs: 0 };
  }

  async delete(key: string) {
    this.#objects.delete(key);
  }

  async sweepUnfinished() {
    return 0;
  }
}

/** Every attempt left the same one file. */
export const oneFile: S3Reader = {
  async *list(_bucket, prefix) {
    yield { key: `${prefix}model.txt`, size: MODEL.length, etag: '"1"' };
  },
  get: async () => Readable.from([MODEL]),
};

const MODEL = Buffer.from('weights\n');
