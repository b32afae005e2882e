import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { ConnectionOptions } from 'node:tls';
import type { Clock } from './clock.ts';
import { clientTls, loadTls, type TlsFiles, type TlsMaterial } from './mtls.ts';

/** Files of certificates are looked at this often: by content, since links that are swapped keep their times. */
const LOOK_EVERY_MS = 5_000;

export interface TlsRotationWatch {
  rotated(material: TlsMaterial): void;
  /** What stands there now cannot serve; what was read before goes on. Told once for each content. */
  failed(error: unknown): void;
  /** At each look: in seconds, negative once it is over. */
  validFor(seconds: number): void;
}

/** Our certificate, its key and the authorities that we trust, as their files have them now. */
export interface RotatingTls {
  current(): TlsMaterial;
  /** Called with each that follows. */
  onChange(listener: (material: TlsMaterial) => void): void;
  /** As `clientTls`; the same object until the files change, so that who holds connections sees whether they are of today. */
  client(expected: readonly string[]): () => ConnectionOptions;
  /** Looks now; what stands there and cannot serve is told as the fault. */
  refresh(): Promise<{ readonly changed: boolean; readonly fault?: unknown }>;
  follow(watch: TlsRotationWatch, signal: AbortSignal): Promise<void>;
}

/** Reads the files, which throws as `loadTls` does, and then again whenever they change: a pair that is half written is passed over until it is whole. */
export async function openRotatingTls(files: TlsFiles, clock: Clock): Promise<RotatingTls> {
  const listeners: ((material: TlsMaterial) => void)[] = [];
  let seen = await contentOf(files);
  let current = await loadTls(files, clock.now());
  const refresh: RotatingTls['refresh'] = async () => {
    const now = await contentOf(files);
    if (now === seen) return { changed: false };
    seen = now;
    try {
      // They may change once more before they are read: then the next look sees it.
      current = await loadTls(files, clock.now());
    } catch (fault) {
      return { changed: false, fault };
    }
    for (const listener of listeners) listener(current);
    return { changed: true };
  };
  return {
    current: () => current,
    onChange: (listener) => void listeners.push(listener),
    client: (expected) => {
      let of: TlsMaterial | undefined;
      let options: ConnectionOptions = {};
      return () => {
        if (of !== current) [of, options] = [current, clientTls(current, expected)];
        return options;
      };
    },
    refresh,
    follow: async (watch, signal) => {
      while (!signal.aborted) {
        const { changed, fault } = await refresh();
        if (changed) watch.rotated(current);
        if (fault !== undefined) watch.failed(fault);
        watch.validFor((current.expiresAtMs - clock.now()) / 1000);
        await clock.sleep(LOOK_EVERY_MS, signal);
      }
    },
  };
}

/** A hash of all three; of one that cannot be read that it cannot. */
async function contentOf(files: TlsFiles): Promise<string> {
  const hash = createHash('sha256');
  for (const path of [files.certFile, files.keyFile, files.caFile]) {
    const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => `unreadable ${error.code}`);
    hash.update(`${bytes.length} `).update(bytes);
  }
  return hash.digest('hex');
}
