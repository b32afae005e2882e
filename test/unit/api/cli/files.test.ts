import { execFileSync } from 'node:child_process';
import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeOutputFile } from '../../../../api/cli/files.ts';
import { processIo } from '../../../../api/cli/io.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'merit-files-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const io = () => ({ ...processIo(), cwd: folder });

test('C22: what is no regular file is never replaced by one, and one that nobody reads is told at once', async () => {
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  await expect(writeOutputFile(io(), fifo, Buffer.from('x'))).rejects.toMatchObject({ code: 'output', exitCode: 1 });
  expect(lstatSync(fifo).isFIFO()).toBe(true);
});

test('a link stays a link: what it points at is replaced, whole', async () => {
  writeFileSync(join(folder, 'target'), 'before');
  symlinkSync('target', join(folder, 'link'));
  await writeOutputFile(io(), 'link', Buffer.from('after'));
  expect(lstatSync(join(folder, 'link')).isSymbolicLink()).toBe(true);
  expect(readFileSync(join(folder, 'target'), 'utf8')).toBe('after');
  expect(readdirSync(folder).sort()).toEqual(['link', 'target']);
});
