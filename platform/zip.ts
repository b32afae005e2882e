import { strFromU8, unzipSync, type Zippable, zipSync } from 'fflate';
import { RefusedInput, refuse } from '../core/refusal.ts';

/**
 * Merit's own packing of code. The package ray-job-submission-client has a writer of its own (src/zip.ts): it is published, and has no
 * dependency. Neither zip is compared with the other; what code is, is told by the hash of its files (artifacts/code.ts).
 */
export interface ZipEntry {
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly executable: boolean;
}

/** Earliest time a zip can hold: the same files give the same bytes. */
const EPOCH = new Date(1980, 0, 1);

/** A zip of `entries` in order of path; executables keep their bit. */
export function zip(entries: readonly ZipEntry[]): Uint8Array {
  const tree: Zippable = {};
  for (const entry of [...entries].sort((a, b) => (a.path < b.path ? -1 : 1))) {
    const mode = entry.executable ? 0o100755 : 0o100644;
    tree[entry.path] = [entry.bytes, { mtime: EPOCH, os: 3, attrs: mode * 65536, level: 6 }];
  }
  return zipSync(tree);
}

/** The files of a zip. Throws RefusedInput where it is torn or passes a limit; the limits hold before anything is inflated. */
export function unzip(
  packed: Uint8Array,
  limits: { readonly maxBytes: number; readonly maxFiles: number },
): readonly ZipEntry[] {
  const modes = executables(packed);
  let total = 0;
  let count = 0;
  let over = false;
  try {
    const files = unzipSync(packed, {
      filter: (file) => {
        if (file.name.endsWith('/')) return false;
        total += file.originalSize;
        count++;
        over ||= total > limits.maxBytes || count > limits.maxFiles;
        return !over;
      },
    });
    if (over)
      throw new RefusedInput([
        refuse(
          'too_large',
          '',
          'holds more than the limits allow',
          `at most ${limits.maxFiles} files and ${limits.maxBytes} bytes`,
        ),
      ]);
    return Object.entries(files).map(([path, bytes]) => ({ path, bytes, executable: modes.has(path) }));
  } catch (error) {
    if (error instanceof RefusedInput) throw error;
    throw new RefusedInput([refuse('zip', '', 'is not a zip archive, or is torn', 'pack it again')]);
  }
}

/** Paths whose central directory record (APPNOTE 4.3.12) has the owner's execute bit. */
function executables(packed: Uint8Array): ReadonlySet<string> {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const found = new Set<string>();
  let at = centralDirectory(view);
  while (at >= 0 && at + 46 <= packed.length && view.getUint32(at, true) === 0x02014b50) {
    const nameLength = view.getUint16(at + 28, true);
    const skip = nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
    const mode = view.getUint32(at + 38, true) >>> 16;
    if ((mode & 0o100) !== 0) found.add(strFromU8(packed.subarray(at + 46, at + 46 + nameLength)));
    at += 46 + skip;
  }
  return found;
}

function centralDirectory(view: DataView): number {
  for (let at = view.byteLength - 22; at >= Math.max(0, view.byteLength - 65_557); at--) {
    if (view.getUint32(at, true) === 0x06054b50) return view.getUint32(at + 16, true);
  }
  return -1;
}
