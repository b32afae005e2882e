import { execFileSync } from 'node:child_process';
import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeOutputFile, writeOutputStream } from '../../../../api/cli/files.ts';
import { processIo } from '../../../../api/cli/io.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'merit-files-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const io = () => ({ ...processIo(), cwd: folder });

async function* pieces(): AsyncGenerator<Uint8Array> {
  yield Buffer.from('af');
  yield Buffer.from('ter');
}
const WAYS = [
  ['at once', (path: string) => writeOutputFile(io(), path, Buffer.from('after'))],
  ['in pieces', (path: string) => writeOutputStream(io(), path, pieces())],
] as const;

test.each(WAYS)(
  'C22: what is no regular file is never replaced by one, %s, and one that nobody reads is told at once',
  async (_, write) => {
    const fifo = join(folder, 'fifo');
    execFileSync('mkfifo', [fifo]);
    await expect(write(fifo)).rejects.toMatchObject({ code: 'output', exitCode: 1 });
    expect(lstatSync(fifo).isFIFO()).toBe(true);
  },
);

test.each(WAYS)('a link stays a link: what it points at is replaced, whole, %s', async (_, write) => {
  writeFileSync(join(folder, 'target'), 'before');
  symlinkSync('target', join(folder, 'link'));
  await write('link');
  expect(lstatSync(join(folder, 'link')).isSymbolicLink()).toBe(true);
  expect(readFileSync(join(folder, 'target'), 'utf8')).toBe('after');
  expect(readdirSync(folder).sort()).toEqual(['link', 'target']);
});

test('what breaks off while it comes leaves what was there, and is told as what it was', async () => {
  writeFileSync(join(folder, 'target'), 'before');
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('half');
    throw new Error('the server went away');
  }
  await expect(writeOutputStream(io(), 'target', broken())).rejects.toThrow('the server went away');
  expect(readFileSync(join(folder, 'target'), 'utf8')).toBe('before');
  expect(readdirSync(folder)).toEqual(['target']);
});
