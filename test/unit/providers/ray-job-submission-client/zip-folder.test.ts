import { chmod, mkdir, mkdtemp, rm, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { unzip } from '../../../../platform/zip.ts';
import { zipFolder } from '../../../../providers/ray-job-submission-client/src/zip-folder.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'merit-zip-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function put(files: Record<string, string>): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
}

async function pathsOf(): Promise<string[]> {
  const packed = await zipFolder(folder);
  return unzip(packed.bytes, { maxBytes: 1e6, maxFiles: 1000 }).map((entry) => entry.path);
}

describe('a folder packed for Ray', () => {
  test('comes out of an independent reader as it went in', async () => {
    await put({ 'train.py': 'print(1)\n'.repeat(100), 'data/ä.txt': 'grün', 'empty.txt': '', 'run.sh': 'true' });
    await chmod(join(folder, 'run.sh'), 0o755);
    const packed = await zipFolder(folder);
    const entries = unzip(packed.bytes, { maxBytes: 1e6, maxFiles: 100 });
    expect(
      entries.map(({ path, bytes, executable }) => [path, Buffer.from(bytes).toString('utf8'), executable]),
    ).toEqual([
      ['data/ä.txt', 'grün', false],
      ['empty.txt', '', false],
      ['run.sh', 'true', true],
      ['train.py', 'print(1)\n'.repeat(100), false],
    ]);
    expect(packed.files).toBe(4);
  });

  test('has the same bytes whatever the times of its files, and other bytes for other content', async () => {
    await put({ b: '2', 'a/c': '3' });
    const first = await zipFolder(folder);
    await utimes(join(folder, 'b'), 1_000_000, 2_000_000);
    const second = await zipFolder(folder);
    expect(second.bytes.equals(first.bytes)).toBe(true);
    expect(second.sha256).toBe(first.sha256);
    await put({ b: '4' });
    expect((await zipFolder(folder)).sha256).not.toBe(first.sha256);
  });

  test('leaves out version control, environments and caches at any depth', async () => {
    await put({
      a: '1',
      '.git/config': 'x',
      'x/node_modules/y/z': 'x',
      'x/__pycache__/m.pyc': 'x',
      '.venv/bin/python': 'x',
      'x/b': '1',
    });
    expect(await pathsOf()).toEqual(['a', 'x/b']);
  });

  test('leaves out what its ignore files name, the last rule winning', async () => {
    const rules = ['# data', '*.bin', '!keep.bin', '/top', 'logs/', 'deep/**/x.txt', 'a?c'].join('\n');
    await put({ '.gitignore': rules, '.rayignore': 'secret*\r\n' });
    await put({
      'w.bin': '',
      'keep.bin': '',
      'sub/w.bin': '',
      top: '',
      'sub/top': '',
      'sub/logs/l': '',
      'deep/1/2/x.txt': '',
    });
    await put({ abc: '', abbc: '', 'sub/secret.key': '', 'deep/x.md': '' });
    expect(await pathsOf()).toEqual(['.gitignore', '.rayignore', 'abbc', 'deep/x.md', 'keep.bin', 'sub/top']);
  });

  test('takes a link to a file inside as that file, and refuses one that leads out', async () => {
    await put({ real: 'content' });
    await symlink('real', join(folder, 'link'));
    expect(await pathsOf()).toEqual(['link', 'real']);
    await symlink('/etc/passwd', join(folder, 'out'));
    await expect(zipFolder(folder)).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringContaining('link out'),
    });
  });

  test('is refused above the limit before anything is read, with its largest files named', async () => {
    await put({ small: 'x', 'weights/model.bin': '', 'weights/other.bin': '' });
    // Sparse: they take no space on disk, and reading them would take minutes.
    await truncate(join(folder, 'weights/model.bin'), 400 * 1024 * 1024);
    await truncate(join(folder, 'weights/other.bin'), 200 * 1024 * 1024);
    await expect(zipFolder(folder)).rejects.toMatchObject({
      code: 'too_large',
      message: expect.stringMatching(/weights\/model\.bin \(400\.0 MiB\), weights\/other\.bin \(200\.0 MiB\), small/),
    });
  });

  test('that does not exist is refused', async () => {
    await expect(zipFolder(join(folder, 'nowhere'))).rejects.toMatchObject({ code: 'invalid' });
  });
});
