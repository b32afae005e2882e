import { chown, mkdir, open, readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { createZstdCompress, zstdDecompressSync } from 'node:zlib';
import type pg from 'pg';
import type { ObjectStore } from '../../platform/object-store.ts';
import type { RunAs } from '../../platform/state-layout.ts';
import { readObject } from '../../scoring/archive/stored-segment.ts';

/** What a copy of a cluster leaves out: its WAL comes from the archive, and the rest is of the server that ran. */
const LEFT_OUT =
  /^(pg_wal\/|postmaster\.(pid|opts)$|pg_dynshmem\/|pg_notify\/|pg_serial\/|pg_snapshots\/|pg_stat_tmp\/|pg_subtrans\/)/;

interface Head {
  readonly path: string;
  /** null: a folder. */
  readonly size: number | null;
}

/**
 * A base backup by Postgres' own low-level interface, while the server works: the files of the cluster in one object, each behind a line of
 * JSON, and the label that makes recovery begin where the copy began.
 */
export async function takeBaseBackup(
  client: pg.Client,
  dataDir: string,
  store: ObjectStore,
  key: string,
): Promise<{ readonly size: number }> {
  await client.query(`select pg_backup_start('drill', true)`);
  async function* pieces(): AsyncGenerator<Buffer> {
    for await (const { path, size } of entriesOf(dataDir, '')) {
      if (size === null) yield headOf({ path, size });
      else {
        const bytes = await readFile(join(dataDir, path)).catch(() => undefined);
        // A file that was dropped meanwhile: recovery drops it too.
        if (bytes === undefined) continue;
        yield headOf({ path, size: bytes.length });
        yield bytes;
      }
    }
    const { rows } = await client.query<{ labelfile: string }>('select labelfile from pg_backup_stop(true)');
    const label = Buffer.from(rows[0]!.labelfile);
    yield headOf({ path: 'backup_label', size: label.length });
    yield label;
  }
  return store.put(key, Readable.from(pieces()).pipe(createZstdCompress()), { ifAbsent: true });
}

function headOf(head: Head): Buffer {
  return Buffer.from(`${JSON.stringify(head)}\n`);
}

async function* entriesOf(root: string, folder: string): AsyncGenerator<Head> {
  for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) {
      yield { path, size: null };
      if (!LEFT_OUT.test(`${path}/`)) yield* entriesOf(root, path);
    } else if (entry.isFile() && !LEFT_OUT.test(path)) yield { path, size: (await stat(join(root, path))).size };
  }
}

/** Lays the files of a base backup out in a new folder, with `more` beside them. */
export async function layOutBaseBackup(
  store: ObjectStore,
  key: string,
  dataDir: string,
  user: RunAs | undefined,
  more: Readonly<Record<string, string>>,
): Promise<void> {
  const bytes = zstdDecompressSync((await readObject(store, key))!);
  const own = (path: string) => (user === undefined ? Promise.resolve() : chown(path, user.uid, user.gid));
  const write = async (path: string, content: Uint8Array) => {
    const full = join(dataDir, path);
    const file = await open(full, 'w', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await own(full);
  };
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  await own(dataDir);
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(0x0a, at);
    const { path, size } = JSON.parse(bytes.subarray(at, end).toString()) as Head;
    at = end + 1;
    if (size === null) {
      await mkdir(join(dataDir, path), { recursive: true, mode: 0o700 });
      await own(join(dataDir, path));
      continue;
    }
    await mkdir(dirname(join(dataDir, path)), { recursive: true, mode: 0o700 });
    await write(path, bytes.subarray(at, at + size));
    at += size;
  }
  for (const [path, content] of Object.entries(more)) await write(path, Buffer.from(content));
}
