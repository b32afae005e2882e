import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { OperatingError } from '../core/operating-error.ts';
import type { ObjectStore } from '../platform/object-store.ts';
import { MAX_MANIFEST_BYTES, type ManifestFile } from './manifest.ts';
import { filesPrefix, manifestKey, objectKey } from './paths.ts';
import { manifestOf, type RecordedManifest } from './store.ts';

/** Findings told of one manifest; the count goes on. */
export const MAX_FINDINGS = 1000;
const MAX_CONCURRENT_READS = 4;

export type Finding =
  | { readonly kind: 'missing_object'; readonly path: string; readonly key: string }
  | {
      readonly kind: 'changed_object';
      readonly path: string;
      readonly key: string;
      readonly expected: { readonly size: number; readonly sha256: string };
      readonly actual: { readonly size: number; readonly sha256: string };
    }
  | { readonly kind: 'extra_object'; readonly key: string; readonly size: number }
  /** `record`: the row's bytes are not those of its hash. `beside`: manifest.json differs from the row. */
  | { readonly kind: 'changed_manifest'; readonly where: 'record' | 'beside' }
  | { readonly kind: 'missing_manifest'; readonly key: string };

export interface Verification {
  readonly ok: boolean;
  readonly findings: readonly Finding[];
  readonly findingsTotal: number;
  readonly filesRead: number;
  readonly bytesRead: number;
}

/**
 * Reads every object of a recorded manifest again and compares size and SHA-256; finds missing and extra objects, and a
 * manifest.json or a record that was changed. Throws OperatingError `storage` where the store cannot be read, `aborted`.
 */
export async function verifyManifest(
  store: ObjectStore,
  keyPrefix: string,
  record: Pick<RecordedManifest, 'sha256' | 'bytes'>,
  options: { readonly signal?: AbortSignal } = {},
): Promise<Verification> {
  const found: Finding[] = [];
  let findingsTotal = 0;
  let filesRead = 0;
  let bytesRead = 0;
  const tell = (finding: Finding) => {
    findingsTotal++;
    if (found.length < MAX_FINDINGS) found.push(finding);
  };
  const result = () => ({ ok: findingsTotal === 0, findings: found, findingsTotal, filesRead, bytesRead });

  const manifest = manifestOf(record);
  const beside = await besideFinding(store, keyPrefix, record.bytes, options.signal);
  if (beside !== undefined) tell(beside);
  if (manifest === undefined) {
    tell({ kind: 'changed_manifest', where: 'record' });
    return result();
  }

  let next = 0;
  const worker = async () => {
    for (let i = next++; i < manifest.files.length; i = next++) {
      const file = manifest.files[i]!;
      const { finding, size } = await checkObject(store, objectKey(keyPrefix, file.path), file, options.signal);
      filesRead++;
      bytesRead += size;
      if (finding !== undefined) tell(finding);
    }
  };
  const workers = Array.from({ length: Math.min(MAX_CONCURRENT_READS, manifest.files.length) }, worker);
  for (const outcome of await Promise.allSettled(workers)) if (outcome.status === 'rejected') throw outcome.reason;

  const wanted = new Set(manifest.files.map((file) => objectKey(keyPrefix, file.path)));
  for await (const { key, size } of store.list(filesPrefix(keyPrefix)))
    if (!wanted.has(key)) tell({ kind: 'extra_object', key, size });
  return result();
}

async function besideFinding(
  store: ObjectStore,
  keyPrefix: string,
  expected: Buffer,
  signal: AbortSignal | undefined,
): Promise<Finding | undefined> {
  const key = manifestKey(keyPrefix);
  const stream = await store.get(key);
  if (stream === undefined) return { kind: 'missing_manifest', key };
  const parts: Buffer[] = [];
  let size = 0;
  await eachChunk(stream, signal, (chunk) => {
    size += chunk.length;
    if (size <= MAX_MANIFEST_BYTES) parts.push(chunk);
  });
  const same = size === expected.length && Buffer.concat(parts).equals(expected);
  return same ? undefined : { kind: 'changed_manifest', where: 'beside' };
}

async function checkObject(
  store: ObjectStore,
  key: string,
  file: ManifestFile,
  signal: AbortSignal | undefined,
): Promise<{ readonly finding: Finding | undefined; readonly size: number }> {
  const stream = await store.get(key);
  if (stream === undefined) return { finding: { kind: 'missing_object', path: file.path, key }, size: 0 };
  const hash = createHash('sha256');
  let size = 0;
  await eachChunk(stream, signal, (chunk) => {
    size += chunk.length;
    hash.update(chunk);
  });
  const sha256 = hash.digest('hex');
  if (size === file.size && sha256 === file.sha256) return { finding: undefined, size };
  const finding: Finding = {
    kind: 'changed_object',
    path: file.path,
    key,
    expected: { size: file.size, sha256: file.sha256 },
    actual: { size, sha256 },
  };
  return { finding, size };
}

async function eachChunk(
  stream: Readable,
  signal: AbortSignal | undefined,
  take: (chunk: Buffer) => void,
): Promise<void> {
  try {
    for await (const chunk of stream) {
      if (signal?.aborted === true) throw new OperatingError('aborted', 'safe', 'verifying the artifacts');
      take(chunk as Buffer);
    }
  } catch (cause) {
    if (cause instanceof OperatingError) throw cause;
    throw new OperatingError('storage', 'safe', 'reading a stored object', { cause });
  }
}
