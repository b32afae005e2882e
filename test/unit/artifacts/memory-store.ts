import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import type { ListedObject, ObjectStore, StoredObject } from '../../../platform/object-store.ts';

/** An object store in memory that keeps the port's promises; `before` may throw, as a crash before that step would look. */
export class MemoryStore implements ObjectStore {
  readonly objects = new Map<string, Buffer>();
  readonly steps: string[] = [];
  before: (step: string) => void = () => {};

  async put(
    key: string,
    body: Readable | Uint8Array,
    options: { readonly ifAbsent?: boolean } = {},
  ): Promise<StoredObject> {
    this.#step(`put ${key}`);
    const parts: Buffer[] = [];
    if (body instanceof Readable) for await (const part of body) parts.push(part as Buffer);
    else parts.push(Buffer.from(body));
    this.#step(`publish ${key}`);
    const bytes = Buffer.concat(parts);
    if (options.ifAbsent !== true || !this.objects.has(key)) this.objects.set(key, bytes);
    const kept = this.objects.get(key)!;
    this.#step(`published ${key}`);
    return { key, size: kept.length, sha256: createHash('sha256').update(kept).digest('hex') };
  }

  async get(key: string): Promise<Readable | undefined> {
    this.#step(`get ${key}`);
    const bytes = this.objects.get(key);
    return bytes && Readable.from([bytes]);
  }

  async head(key: string): Promise<{ readonly size: number } | undefined> {
    this.#step(`head ${key}`);
    const bytes = this.objects.get(key);
    return bytes && { size: bytes.length };
  }

  async *list(prefix: string): AsyncIterable<ListedObject> {
    this.#step(`list ${prefix}`);
    for (const [key, bytes] of [...this.objects])
      if (key.startsWith(prefix)) yield { key, size: bytes.length, modifiedAtMs: 0 };
  }

  async delete(key: string): Promise<void> {
    this.#step(`delete ${key}`);
    this.objects.delete(key);
  }

  async sweepUnfinished(): Promise<number> {
    return 0;
  }

  #step(step: string): void {
    this.before(step);
    this.steps.push(step);
  }
}
