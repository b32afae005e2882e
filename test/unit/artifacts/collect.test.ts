import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { collect, forgetProgress } from '../../../artifacts/collect.ts';
import { buildManifest, manifestBytes, manifestSha256 } from '../../../artifacts/manifest.ts';
import { artifactsPrefix, manifestKey, objectKey, progressPrefix } from '../../../artifacts/paths.ts';
import { writeManifest } from '../../../artifacts/store.ts';
import { verifyManifest } from '../../../artifacts/verify.ts';
import { OperatingError } from '../../../core/operating-error.ts';
import { MemoryStore } from './memory-store.ts';

const keyPrefix = artifactsPrefix('acme', '01jd0000000000000000000000', 1);
const sha = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');

let root: string;
let outputs: string;
let store: MemoryStore;

beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'merit-collect-')));
  outputs = join(root, 'allowed', 'out');
  mkdirSync(join(outputs, 'sub'), { recursive: true });
  store = new MemoryStore();
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const run = (options: Partial<Parameters<typeof collect>[0]> = {}) =>
  collect({
    uri: pathToFileURL(outputs).href,
    allowedFolders: [join(root, 'allowed')],
    allowedS3: [],
    store,
    keyPrefix,
    signal: new AbortController().signal,
    progressNoteMinBytes: 4,
    ...options,
  });

const manifestFor = (collected: Awaited<ReturnType<typeof collect>>) => {
  if (collected.kind !== 'collected') throw new Error(JSON.stringify(collected));
  return buildManifest(
    {
      tenant: 'acme',
      booking: '01jd0000000000000000000000',
      attempt: 1,
      job: 'j',
      model: null,
      provider: 'local',
      outputsUri: 'file:///x',
      createdAt: '2026-11-23T10:00:00.000Z',
    },
    collected.files,
  );
};

function writeSome(): void {
  writeFileSync(join(outputs, 'model.bin'), 'the model');
  writeFileSync(join(outputs, 'sub', 'train_log.txt'), 'line 1\nline 2\n');
  writeFileSync(join(outputs, 'empty'), '');
  writeFileSync(join(outputs, 'naïve (1).txt'), 'x');
}

describe('collecting outputs', () => {
  it('stores every file under its own key and tells the hash of what was stored', async () => {
    writeSome();
    const told: number[] = [];
    const collected = await run({ onProgress: (progress) => told.push(progress.bytesDone) });
    expect(collected).toEqual({
      kind: 'collected',
      totalBytes: 24,
      files: [
        { path: 'empty', size: 0, sha256: sha('') },
        { path: 'model.bin', size: 9, sha256: sha('the model') },
        { path: 'naïve (1).txt', size: 1, sha256: sha('x') },
        { path: 'sub/train_log.txt', size: 14, sha256: sha('line 1\nline 2\n') },
      ],
    });
    expect(store.objects.get(objectKey(keyPrefix, 'sub/train_log.txt'))?.toString()).toBe('line 1\nline 2\n');
    expect(told.at(-1)).toBe(24);
  });

  it('of an empty folder is a collection of nothing', async () => {
    rmSync(join(outputs, 'sub'), { recursive: true });
    expect(await run()).toEqual({ kind: 'collected', files: [], totalBytes: 0 });
  });

  it('gives the same manifest after a crash at every step, and never shows a part of a file', async () => {
    writeSome();
    const whole = new MemoryStore();
    const manifest = manifestFor(await run({ store: whole }));
    await writeManifest(whole, keyPrefix, manifest);
    await forgetProgress(whole, keyPrefix);
    const expected = manifestSha256(manifest);
    const finish = async (target: MemoryStore) => {
      const again = manifestFor(await run({ store: target }));
      await writeManifest(target, keyPrefix, again);
      await forgetProgress(target, keyPrefix);
      return again;
    };
    const steps = whole.steps.length;
    expect(steps).toBeGreaterThan(20);
    for (let crashAt = 0; crashAt < steps; crashAt++) {
      const target = new MemoryStore();
      let left = crashAt;
      target.before = () => {
        if (left-- <= 0) throw new Error('crash');
      };
      const outcome = await finish(target).catch((error: unknown) => error);
      for (const [key, bytes] of target.objects) {
        if (key.includes('/files/')) expect(bytes).toEqual(whole.objects.get(key));
      }
      target.before = () => {};
      const again = await finish(target);
      expect(manifestSha256(again)).toBe(expected);
      expect([...target.objects.keys()].sort()).toEqual([...whole.objects.keys()].sort());
      expect(outcome instanceof Error || crashAt === steps - 1).toBe(true);
    }
  });

  it('does not stream a large file again whose storing was noted', async () => {
    writeSome();
    await run();
    store.steps.length = 0;
    const again = await run();
    expect(again.kind).toBe('collected');
    expect(store.steps).not.toContain(`put ${objectKey(keyPrefix, 'model.bin')}`);
    expect(store.steps).toContain(`put ${objectKey(keyPrefix, 'empty')}`);
  });

  it('streams a noted file again when it changed since, though its size did not', async () => {
    writeSome();
    await run();
    writeFileSync(join(outputs, 'model.bin'), 'the MODEL');
    expect(await run()).toMatchObject({ files: [{}, { sha256: sha('the MODEL') }, {}, {}] });
  });

  it('drops what an earlier run stored and the job has taken away since', async () => {
    writeSome();
    await run();
    rmSync(join(outputs, 'model.bin'));
    const manifest = manifestFor(await run());
    await writeManifest(store, keyPrefix, manifest);
    const bytes = manifestBytes(manifest);
    expect(await verifyManifest(store, keyPrefix, { bytes, sha256: sha(bytes) })).toMatchObject({ ok: true });
  });

  it('once the manifest is written, returns its files though the outputs are gone, and deletes nothing', async () => {
    writeSome();
    const manifest = manifestFor(await run());
    await writeManifest(store, keyPrefix, manifest);
    const keys = [...store.objects.keys()];
    rmSync(outputs, { recursive: true });
    expect(await run()).toEqual({ kind: 'collected', files: manifest.files, totalBytes: manifest.totalBytes });
    expect([...store.objects.keys()]).toEqual(keys);
  });

  it('refuses to go on from a damaged manifest', async () => {
    writeSome();
    store.objects.set(manifestKey(keyPrefix), Buffer.from('{}'));
    await expect(run()).rejects.toMatchObject({ code: 'storage', retry: 'never' });
  });

  it('forgets its notes when told to', async () => {
    writeSome();
    await run();
    expect([...store.objects.keys()].some((key) => key.startsWith(progressPrefix(keyPrefix)))).toBe(true);
    await forgetProgress(store, keyPrefix);
    expect([...store.objects.keys()].some((key) => key.startsWith(progressPrefix(keyPrefix)))).toBe(false);
  });

  it('tells a missing folder as not found', async () => {
    await expect(run({ uri: pathToFileURL(join(root, 'allowed', 'none')).href })).rejects.toMatchObject({
      code: 'not-found',
    });
  });

  it('stops when aborted', async () => {
    writeSome();
    const stop = new AbortController();
    store.before = (step) => {
      if (step.startsWith('put')) stop.abort();
    };
    await expect(run({ signal: stop.signal })).rejects.toMatchObject({ code: 'aborted' });
  });

  it('fails with conflict when a file changes while it is read', async () => {
    writeFileSync(join(outputs, 'big'), randomBytes(3 * 1024 * 1024));
    let touched = false;
    store.before = (step) => {
      if (!step.startsWith('put') || touched) return;
      touched = true;
      writeFileSync(join(outputs, 'big'), 'short');
    };
    await expect(run()).rejects.toMatchObject({ name: 'OperatingError', code: 'conflict', retry: 'safe' });
    expect(store.objects.size).toBe(0);
  });

  it('tells a failing store as a storage fault', async () => {
    writeSome();
    store.before = (step) => {
      if (step.startsWith('publish ')) throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' });
    };
    const error = await run().catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(OperatingError);
    expect(error).toMatchObject({ code: 'storage', retry: 'safe' });
  });
});

describe('hostile outputs', () => {
  const codes = async (options: Partial<Parameters<typeof collect>[0]> = {}) => {
    const collected = await run(options);
    expect(store.objects.size).toBe(0);
    return collected.kind === 'refused' ? collected.refusals.map((refusal) => refusal.code) : collected;
  };

  it('a link out of the prefix is refused, and nothing is stored', async () => {
    writeFileSync(join(root, 'secret'), 'secret');
    writeSome();
    symlinkSync(join(root, 'secret'), join(outputs, 'a'));
    symlinkSync('../../../secret', join(outputs, 'sub', 'b'));
    symlinkSync('/nowhere', join(outputs, 'c'));
    symlinkSync(root, join(outputs, 'd'));
    expect(await codes()).toEqual(['link_outside', 'link_outside', 'link_outside', 'link_outside']);
  });

  it('a link that leaves by way of another link is refused', async () => {
    writeFileSync(join(root, 'secret'), 'secret');
    symlinkSync('b', join(outputs, 'a'));
    symlinkSync(join(root, 'secret'), join(outputs, 'b'));
    expect(await codes()).toEqual(['link_outside', 'link_outside']);
  });

  it('a link to a file inside is stored as that file; one to a folder is refused', async () => {
    writeSome();
    symlinkSync('../model.bin', join(outputs, 'sub', 'latest'));
    expect(await run()).toMatchObject({ kind: 'collected', totalBytes: 33 });
    store.objects.clear();
    symlinkSync('.', join(outputs, 'loop'));
    expect(await codes()).toEqual(['link_folder']);
  });

  it('a file swapped for a link after the listing is not followed', async () => {
    writeFileSync(join(root, 'secret'), 'secret');
    writeFileSync(join(outputs, 'a'), 'sesame');
    store.before = (step) => {
      if (!step.startsWith('list')) return;
      renameSync(join(outputs, 'a'), join(outputs, 'a.old'));
      symlinkSync(join(root, 'secret'), join(outputs, 'a'));
    };
    await expect(run({ progressNoteMinBytes: 1e9 })).rejects.toMatchObject({ code: 'conflict' });
    expect(store.objects.size).toBe(0);
  });

  it('a folder on the way swapped for a link is not followed to the very same file', async () => {
    mkdirSync(join(root, 'elsewhere'));
    writeFileSync(join(outputs, 'sub', 'f'), 'sesame');
    linkSync(join(outputs, 'sub', 'f'), join(root, 'elsewhere', 'f'));
    store.before = (step) => {
      if (!step.startsWith('list')) return;
      renameSync(join(outputs, 'sub'), join(outputs, 'sub.old'));
      symlinkSync(join(root, 'elsewhere'), join(outputs, 'sub'));
    };
    await expect(run({ progressNoteMinBytes: 1e9 })).rejects.toMatchObject({ code: 'conflict' });
    expect(store.objects.size).toBe(0);
  });

  it('a folder on the way swapped for a link is not followed', async () => {
    mkdirSync(join(root, 'elsewhere'));
    writeFileSync(join(root, 'elsewhere', 'f'), 'secret');
    writeFileSync(join(outputs, 'sub', 'f'), 'sesame');
    store.before = (step) => {
      if (!step.startsWith('list')) return;
      renameSync(join(outputs, 'sub'), join(outputs, 'sub.old'));
      symlinkSync(join(root, 'elsewhere'), join(outputs, 'sub'));
    };
    await expect(run({ progressNoteMinBytes: 1e9 })).rejects.toMatchObject({ code: 'conflict' });
    expect(store.objects.size).toBe(0);
  });

  it.skipIf(process.platform === 'win32')('a pipe, and a name with a line end or escape, are refused', async () => {
    execFileSync('mkfifo', [join(outputs, 'pipe')]);
    expect(await codes()).toEqual(['file_type']);
    rmSync(join(outputs, 'pipe'));
    writeFileSync(join(outputs, 'a\nb'), '');
    writeFileSync(join(outputs, 'c\u001b[31m'), '');
    const collected = await run();
    expect(collected).toMatchObject({
      kind: 'refused',
      refusals: [
        { code: 'charset', field: 'a\\u{a}b' },
        { code: 'charset', field: 'c\\u{1b}[31m' },
      ],
    });
  });

  it.skipIf(process.platform !== 'linux')('a name that is not UTF-8 is refused, not read as another name', async () => {
    writeFileSync(Buffer.concat([Buffer.from(`${outputs}/`), Buffer.from([0xff, 0xfe])]), 'x');
    expect(await codes()).toEqual(['encoding']);
  });

  it('outputs outside the allowed folders are refused, also by way of a link or a prefix of the name', async () => {
    mkdirSync(join(root, 'allowed-not'));
    symlinkSync(root, join(root, 'allowed', 'way'));
    expect(await codes({ uri: 'file:///etc' })).toEqual(['outputs_outside']);
    expect(await codes({ uri: pathToFileURL(join(root, 'allowed-not')).href })).toEqual(['outputs_outside']);
    expect(await codes({ uri: pathToFileURL(join(root, 'allowed', 'way')).href })).toEqual(['outputs_outside']);
    expect(await codes({ uri: `${pathToFileURL(join(root, 'allowed')).href}/../../..` })).toEqual(['outputs_outside']);
  });

  it('URIs that are no local folder are refused with the scheme that is missing', async () => {
    expect(await codes({ uri: 'x' })).toEqual(['uri']);
    expect(await codes({ uri: 'file://host/x' })).toEqual(['uri']);
    expect(await codes({ uri: `${pathToFileURL(outputs).href}?x` })).toEqual(['uri']);
    expect(await codes({ uri: 'https://example.org/' })).toEqual(['outputs_scheme']);
    expect(await codes({ uri: 's3://bucket/prefix' })).toEqual(['outputs_outside']);
    writeFileSync(join(outputs, 'file'), '');
    expect(await codes({ uri: pathToFileURL(join(outputs, 'file')).href })).toEqual(['outputs']);
  });

  it('two names that differ in case only are refused', async () => {
    writeFileSync(join(outputs, 'Model'), '1');
    writeFileSync(join(outputs, 'model'), '2');
    expect(await codes()).toEqual(['case_collision']);
  });

  it('a tree deeper than a manifest takes is refused', async () => {
    mkdirSync(join(outputs, ...Array.from({ length: 40 }, () => 'd')), { recursive: true });
    expect(await codes()).toEqual(['depth']);
  });

  it('old file times do not matter', async () => {
    writeFileSync(join(outputs, 'a'), 'x');
    utimesSync(join(outputs, 'a'), 0, 0);
    expect(await run()).toMatchObject({ kind: 'collected' });
  });
});
