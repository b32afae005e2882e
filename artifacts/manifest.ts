import { canonicalBytes, sha256Hex } from '../core/canonical.ts';
import { parseJson } from '../core/json.ts';
import { type Refusal, RefusedInput, refuse } from '../core/refusal.ts';
import { check, type Static, Type } from '../core/schema.ts';
import { byCodePoint, MAX_PATH_BYTES, pathRefusal } from './paths.ts';

/** What one attempt may leave behind. The manifest of MAX_FILES longest paths is under 8 MiB. */
export const MAX_FILES = 10_000;
export const MAX_FILE_BYTES = 1024 ** 4;
export const MAX_TOTAL_BYTES = 4 * 1024 ** 4;
export const MAX_MANIFEST_BYTES = 16 * 1024 ** 2;

/** At most this many refusals are told at once. */
export const MAX_TOLD_REFUSALS = 50;

const Sha256 = Type.String({ minLength: 64, maxLength: 64, pattern: '^[0-9a-f]{64}$' });

const ManifestFile = Type.Object(
  {
    path: Type.String({ minLength: 1, maxLength: MAX_PATH_BYTES }),
    size: Type.Integer({ minimum: 0, maximum: MAX_FILE_BYTES }),
    sha256: Sha256,
  },
  { additionalProperties: false },
);
export type ManifestFile = Readonly<Static<typeof ManifestFile>>;

const ManifestSchema = Type.Object(
  {
    format: Type.Literal('merit-manifest/1'),
    tenant: Type.String({ maxLength: 63, pattern: '^[a-z0-9-]+$' }),
    booking: Type.String({ maxLength: 26, pattern: '^[0-9a-hjkmnp-tv-z]{26}$' }),
    attempt: Type.Integer({ minimum: 1, maximum: 1_000_000 }),
    job: Type.String({ maxLength: 64, pattern: '^[A-Za-z0-9._-]+$' }),
    model: Type.Union([Type.Null(), Type.String({ maxLength: 64, pattern: '^[A-Za-z0-9._-]+$' })]),
    /** As the pool names it: a kind, a package, or the full path of one. */
    provider: Type.String({ minLength: 1, maxLength: 512 }),
    outputsUri: Type.String({ minLength: 1, maxLength: 1024 }),
    createdAt: Type.String({
      maxLength: 24,
      pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$',
    }),
    files: Type.Array(ManifestFile, { maxItems: MAX_FILES }),
    totalBytes: Type.Integer({ minimum: 0, maximum: MAX_TOTAL_BYTES }),
  },
  { additionalProperties: false },
);

/** What an attempt left: every file with its size and SHA-256, sorted by code point of its path. */
export interface Manifest {
  readonly format: 'merit-manifest/1';
  readonly tenant: string;
  readonly booking: string;
  readonly attempt: number;
  readonly job: string;
  readonly model: string | null;
  readonly provider: string;
  readonly outputsUri: string;
  /** When the attempt ended, from its row, never the time of collecting: a second collection makes the same bytes. */
  readonly createdAt: string;
  readonly files: readonly ManifestFile[];
  readonly totalBytes: number;
}

/** The manifest of `files` in any order; throws RefusedInput with every problem. */
export function buildManifest(
  head: Omit<Manifest, 'format' | 'files' | 'totalBytes'>,
  files: readonly ManifestFile[],
): Manifest {
  const sorted = [...files].sort((a, b) => byCodePoint(a.path, b.path));
  const totalBytes = sorted.reduce((sum, file) => sum + file.size, 0);
  const manifest: Manifest = { format: 'merit-manifest/1', ...head, files: sorted, totalBytes };
  const refusals = manifestRefusals(manifest);
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return manifest;
}

/** RFC 8785 bytes: what is hashed, stored beside the objects and kept in Postgres. */
export function manifestBytes(manifest: Manifest): Buffer {
  return canonicalBytes(manifest);
}

/** SHA-256 of the manifest's canonical bytes, lower-case hex. */
export function manifestSha256(manifest: Manifest): string {
  return sha256Hex(manifestBytes(manifest));
}

/** Everything wrong with a value that claims to be a manifest; none: it is a Manifest. */
export function manifestRefusals(value: unknown): readonly Refusal[] {
  const refusals = [...check(ManifestSchema, value)];
  if (refusals.length > 0) return refusals;
  const manifest = value as Manifest;
  refusals.push(...fileSetRefusals(manifest.files.map((file) => file.path)));
  let total = 0;
  for (let i = 0; i < manifest.files.length; i++) {
    total += manifest.files[i]!.size;
    if (i > 0 && byCodePoint(manifest.files[i - 1]!.path, manifest.files[i]!.path) >= 0) {
      refusals.push(
        refuse('order', `files.${i}.path`, 'is not after the path before it, by code point', 'sort the files'),
      );
    }
  }
  if (total !== manifest.totalBytes)
    refusals.push(refuse('sum', 'totalBytes', 'is not the sum of the sizes', 'add them up'));
  return refusals.slice(0, MAX_TOLD_REFUSALS);
}

/** The manifest in `bytes`, or why not: its bytes must be exactly its canonical form. */
export function parseManifest(bytes: Uint8Array): Manifest | readonly Refusal[] {
  if (bytes.length > MAX_MANIFEST_BYTES)
    return [refuse('length', '', `is over ${MAX_MANIFEST_BYTES} bytes`, 'this is no manifest')];
  const reading = parseJson(bytes);
  if (!reading.ok) return [refuse(reading.code, '', reading.reason, 'this is no manifest, or it was changed')];
  const refusals = manifestRefusals(reading.value);
  if (refusals.length > 0) return refusals;
  const manifest = reading.value as unknown as Manifest;
  if (!manifestBytes(manifest).equals(bytes)) {
    return [refuse('not_canonical', '', 'differs from its RFC 8785 form', 'this manifest was changed')];
  }
  return manifest;
}

/**
 * Rules for all paths together: each is lawful, none is named twice, none is a folder of another (an S3 prefix can hold
 * `a` and `a/b`, a folder cannot), and no two differ in case only (they are one file on macOS and Windows).
 */
export function fileSetRefusals(paths: readonly string[]): readonly Refusal[] {
  const refusals: Refusal[] = [];
  if (paths.length > MAX_FILES) {
    return [refuse('length', 'files', `are more than ${MAX_FILES}`, 'pack them into an archive at the end of the job')];
  }
  const folded = new Map<string, string>();
  for (const [i, path] of paths.entries()) {
    const refusal = pathRefusal(`files.${i}.path`, path);
    if (refusal !== undefined) refusals.push(refusal);
    if (refusals.length >= MAX_TOLD_REFUSALS) return refusals;
    const key = path.toLowerCase();
    const other = folded.get(key);
    if (other === path) refusals.push(refuse('duplicate', `files.${i}.path`, 'is named twice', 'name it once'));
    else if (other !== undefined)
      refusals.push(
        refuse('case_collision', `files.${i}.path`, 'differs from another path in case only', 'rename one'),
      );
    folded.set(key, path);
  }
  for (const [i, path] of paths.entries()) {
    for (let slash = path.indexOf('/'); slash > 0; slash = path.indexOf('/', slash + 1)) {
      if (!folded.has(path.slice(0, slash).toLowerCase())) continue;
      refusals.push(refuse('prefix_collision', `files.${i}.path`, 'is inside another file’s path', 'rename one'));
      break;
    }
    if (refusals.length >= MAX_TOLD_REFUSALS) break;
  }
  return refusals;
}
