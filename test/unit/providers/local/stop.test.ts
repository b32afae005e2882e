import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeClaim } from '../../../../providers/local/job-folder.ts';
import { withdraw } from '../../../../providers/local/stop.ts';

let root: string;
let folder: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'merit-stop-'));
  folder = join(root, 'm-1-1');
  await mkdir(join(folder, 'work'), { recursive: true });
});
afterEach(() => rm(root, { recursive: true, force: true }));

/** A wrapper that came late: it has read the intent, and claims the folder to run it. */
function claims(): boolean {
  try {
    return writeClaim(folder, { by: 'wrapper', pid: process.pid, startTime: '1' });
  } catch {
    return false;
  }
}

test('an intent that was withdrawn cannot be claimed any more, not even while its folder goes away', async () => {
  for (let i = 0; i < 2_000; i++) await writeFile(join(folder, 'work', String(i)), '');
  let over = false;
  const withdrawing = withdraw(folder).finally(() => {
    over = true;
  });
  let claimed = false;
  while (!over) {
    claimed ||= claims();
    await turn();
  }
  expect(await withdrawing).toBe(true);
  expect(claimed).toBe(false);
  expect(existsSync(folder)).toBe(false);
  expect(await readdir(root)).toEqual([]);
});

test('an intent that a wrapper claimed is not withdrawn', async () => {
  expect(claims()).toBe(true);
  expect(await withdraw(folder)).toBe(false);
  expect(existsSync(join(folder, 'claim.json'))).toBe(true);
});
