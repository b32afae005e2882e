import { canonicalBytes } from '../core/canonical.ts';
import { escapeHidden } from '../core/hidden-characters.ts';
import { parseJson } from '../core/json.ts';
import { OperatingError } from '../core/operating-error.ts';
import { type Refusal, refuse } from '../core/refusal.ts';
import { check, type Static, Type } from '../core/schema.ts';
import type { ObjectStore } from '../platform/object-store.ts';
import {
  fileSetRefusals,
  MAX_FILE_BYTES,
  MAX_MANIFEST_BYTES,
  MAX_TOLD_REFUSALS,
  MAX_TOTAL_BYTES,
  type Manifest,
  type ManifestFile,
  parseManifest,
} from './manifest.ts';
import { byCodePoint, filesPrefix, manifestKey, objectKey, progressKey, progressPrefix } from './paths.ts';
import { isSource, type OutputsEntry, type OutputsSource, openSource, type SourceOptions } from './source.ts';

/** Files streamed at a time: each holds a few chunks of 256 KiB. */
export const MAX_CONCURRENT_FILES = 4;
/** A file at least this large leaves a note when it is stored, so that a second run does not stream it again. */
export const PROGRESS_NOTE_MIN_BYTES = 8 * 1024 ** 2;
const MAX_NOTE_BYTES = 4096;

export interface Progress {
  readonly filesDone: number;
  readonly filesTotal: number;
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

export interface CollectOptions extends SourceOptions {
  /** The outputs prefix of the ended job. */
  readonly uri: string;
  readonly store: ObjectStore;
  /** `artifactsPrefix(…)` of the attempt. */
  readonly keyPrefix: string;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  readonly progressNoteMinBytes?: number;
}

export type Collected =
  | { readonly kind: 'collected'; readonly files: readonly ManifestFile[]; readonly totalBytes: number }
  | { readonly kind: 'refused'; readonly refusals: readonly Refusal[] };

/**
 * Streams every file under the outputs prefix into the object store and returns them with the SHA-256 of what was stored,
 * sorted by code point. Repeatable: a run after a crash at any point stores the same objects and returns the same files;
 * once `writeManifest` has run it returns that manifest's files and touches nothing, even where the outputs are gone.
 * Refused are links out of the prefix, hostile names and more than the manifest's limits; then nothing was stored.
 * Throws OperatingError: `not-found` (no such prefix), `conflict` (a file changed while it was read), `storage`, `aborted`.
 */
export async function collect(options: CollectOptions): Promise<Collected> {
  const earlier = await writtenManifest(options.store, options.keyPrefix);
  if (earlier !== undefined) return { kind: 'collected', files: earlier.files, totalBytes: earlier.totalBytes };
  const source = await openSource(options.uri, options);
  if (!isSource(source)) return { kind: 'refused', refusals: [source] };
  const listing = await source.list(options.signal);
  if (listing.kind === 'refused') return listing;
  const entries = [...listing.entries].sort((a, b) => byCodePoint(a.path, b.path));
  const refusals = listingRefusals(entries);
  if (refusals.length > 0) return { kind: 'refused', refusals };
  await removeStrangers(options, entries);
  const files = await storeAll(source, entries, options);
  return { kind: 'collected', files, totalBytes: files.reduce((sum, file) => sum + file.size, 0) };
}

/** Drops the notes of a finished collection; call it after the manifest is recorded. Safe to repeat. */
export async function forgetProgress(store: ObjectStore, keyPrefix: string): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of store.list(progressPrefix(keyPrefix))) keys.push(key);
  for (const key of keys) await store.delete(key);
}

async function writtenManifest(store: ObjectStore, keyPrefix: string): Promise<Manifest | undefined> {
  const bytes = await readWhole(store, manifestKey(keyPrefix), MAX_MANIFEST_BYTES);
  if (bytes === undefined) return undefined;
  const manifest = parseManifest(bytes);
  if ('format' in manifest) return manifest;
  throw new OperatingError('storage', 'never', 'reading the manifest that an earlier collection wrote', {
    cause: 'its bytes are not those of a manifest',
    mend: 'the object store lost or changed it; compare with a copy, then delete it to collect again',
  });
}

function listingRefusals(entries: readonly OutputsEntry[]): readonly Refusal[] {
  const refusals = [...fileSetRefusals(entries.map((entry) => entry.path))].map((refusal) => named(refusal, entries));
  for (const entry of entries) {
    if (refusals.length >= MAX_TOLD_REFUSALS) break;
    if (entry.size > MAX_FILE_BYTES)
      refusals.push(refuse('length', entry.path, `is over ${MAX_FILE_BYTES} bytes`, 'split it'));
  }
  const total = entries.reduce((sum, entry) => sum + entry.size, 0);
  if (total > MAX_TOTAL_BYTES)
    refusals.push(refuse('length', 'files', `hold over ${MAX_TOTAL_BYTES} bytes`, 'write less, or split the job'));
  return refusals;
}

/** `files.3.path` says nothing to someone who sees no manifest yet: tells the path instead, with what cannot be shown escaped. */
function named(refusal: Refusal, entries: readonly OutputsEntry[]): Refusal {
  const index = /^files\.(\d+)\.path$/.exec(refusal.field)?.[1];
  const path = index === undefined ? undefined : entries[Number(index)]?.path;
  return path === undefined ? refusal : { ...refusal, field: escapeHidden(path.slice(0, 200)) };
}

/** Objects of an earlier run whose files are gone since: the manifest would not name them. */
async function removeStrangers(options: CollectOptions, entries: readonly OutputsEntry[]): Promise<void> {
  const wanted = new Set(entries.map((entry) => objectKey(options.keyPrefix, entry.path)));
  const strangers: string[] = [];
  for await (const { key } of options.store.list(filesPrefix(options.keyPrefix)))
    if (!wanted.has(key)) strangers.push(key);
  for (const key of strangers) await options.store.delete(key);
}

async function storeAll(
  source: OutputsSource,
  entries: readonly OutputsEntry[],
  options: CollectOptions,
): Promise<readonly ManifestFile[]> {
  const files: ManifestFile[] = new Array(entries.length);
  const bytesTotal = entries.reduce((sum, entry) => sum + entry.size, 0);
  let filesDone = 0;
  let bytesDone = 0;
  let next = 0;
  let failed = false;
  const worker = async () => {
    for (let i = next++; i < entries.length && !failed; i = next++) {
      if (options.signal.aborted) throw new OperatingError('aborted', 'safe', 'collecting the outputs');
      const entry = entries[i]!;
      try {
        files[i] = await storeOne(source, entry, options);
      } catch (error) {
        failed = true;
        throw error;
      }
      filesDone++;
      bytesDone += entry.size;
      options.onProgress?.({ filesDone, filesTotal: entries.length, bytesDone, bytesTotal });
    }
  };
  const workers = Array.from({ length: Math.min(MAX_CONCURRENT_FILES, entries.length) }, worker);
  // All of them end before this returns: none may still write when the caller repeats.
  for (const result of await Promise.allSettled(workers)) if (result.status === 'rejected') throw result.reason;
  return files;
}

async function storeOne(source: OutputsSource, entry: OutputsEntry, options: CollectOptions): Promise<ManifestFile> {
  const { store, keyPrefix, signal } = options;
  const noted = entry.size >= (options.progressNoteMinBytes ?? PROGRESS_NOTE_MIN_BYTES);
  if (noted) {
    const sha256 = await storedBefore(store, keyPrefix, entry);
    if (sha256 !== undefined) return { path: entry.path, size: entry.size, sha256 };
  }
  const body = await source.open(entry, signal);
  let sourceFault: unknown;
  body.once('error', (error) => {
    sourceFault = error;
  });
  let stored: { readonly size: number; readonly sha256: string };
  try {
    stored = await store.put(objectKey(keyPrefix, entry.path), body);
  } catch (error) {
    body.destroy();
    // What went wrong at the source is the cause, however the store tells of its broken stream.
    const cause = sourceFault ?? error;
    if (cause instanceof OperatingError) throw cause;
    throw new OperatingError('storage', 'safe', 'storing an output file', { cause });
  }
  if (stored.size !== entry.size) {
    throw new OperatingError('storage', 'safe', 'storing an output file', {
      cause: `${stored.size} of ${entry.size} bytes arrived`,
    });
  }
  if (noted) await store.put(progressKey(keyPrefix, entry.path), canonicalBytes(noteOf(entry, stored.sha256)));
  return { path: entry.path, size: entry.size, sha256: stored.sha256 };
}

const Note = Type.Object(
  {
    path: Type.String(),
    version: Type.String(),
    size: Type.Integer({ minimum: 0 }),
    sha256: Type.String({ maxLength: 64, pattern: '^[0-9a-f]{64}$' }),
  },
  { additionalProperties: false },
);

function noteOf(entry: OutputsEntry, sha256: string): Static<typeof Note> {
  return { path: entry.path, version: entry.version, size: entry.size, sha256 };
}

/** The SHA-256 of the entry where an earlier run stored exactly this version of it: the note is written after the object. */
async function storedBefore(store: ObjectStore, keyPrefix: string, entry: OutputsEntry): Promise<string | undefined> {
  const object = await store.head(objectKey(keyPrefix, entry.path));
  if (object?.size !== entry.size) return undefined;
  const bytes = await readWhole(store, progressKey(keyPrefix, entry.path), MAX_NOTE_BYTES);
  if (bytes === undefined) return undefined;
  const reading = parseJson(bytes);
  if (!reading.ok || check(Note, reading.value).length > 0) return undefined;
  const note = reading.value as unknown as Static<typeof Note>;
  return note.path === entry.path && note.version === entry.version && note.size === entry.size
    ? note.sha256
    : undefined;
}

/** A small object's bytes, cut after `maxBytes` + 1; undefined where there is none. */
async function readWhole(store: ObjectStore, key: string, maxBytes: number): Promise<Buffer | undefined> {
  const stream = await store.get(key);
  if (stream === undefined) return undefined;
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of stream) {
    parts.push(part as Buffer);
    size += (part as Buffer).length;
    if (size > maxBytes) break;
  }
  return Buffer.concat(parts).subarray(0, maxBytes + 1);
}
