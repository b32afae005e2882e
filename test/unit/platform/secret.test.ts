import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { format, inspect } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Secret } from '../../../platform/secret.ts';
import { readSecretFile } from '../../../platform/secret-file.ts';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'merit-secret-'));
});
afterAll(() => rm(dir, { recursive: true }));

test('a secret shows itself nowhere but where it is revealed', () => {
  const secret = new Secret('hunter2');
  const shown = [
    String(secret),
    `${secret}`,
    JSON.stringify({ secret }),
    inspect({ deep: { secret } }, { showHidden: true, depth: 9 }),
    format('%s %o %j', secret, secret, secret),
    JSON.stringify(Object.entries(secret)),
    JSON.stringify(Object.getOwnPropertyNames(secret)),
    new Error('with cause', { cause: secret }).stack,
  ].join('\n');
  expect(shown).not.toContain('hunter2');
  expect(shown).toContain('[secret]');
  expect(secret.reveal()).toBe('hunter2');
});

const write = async (content: string, mode = 0o600) => {
  const path = join(dir, `${Math.random()}`);
  await writeFile(path, content, { mode });
  return path;
};

test.each(['token\n', 'token\r\n', 'token'])(
  'one newline at the end of a secret file is trimmed (%j, G41)',
  async (content) => {
    expect((await readSecretFile(await write(content), 'f')).reveal()).toBe('token');
  },
);

test.each(['', '\n', 'to ken', 'token\n\n', ' token', 'a\nb', 'tök', 'a\0b'])(
  'a secret file with %j is refused, without showing it',
  async (content) => {
    await expect(readSecretFile(await write(content), 'ray.tokenFile')).rejects.toMatchObject({
      refusals: [{ code: 'secret_file', field: 'ray.tokenFile' }],
    });
  },
);

test('a secret that others may read, a folder and a missing file are refused', async () => {
  const open = await write('hunter2', 0o644);
  await expect(readSecretFile(open, 'f')).rejects.toThrow(/can be read by others/);
  await expect(readSecretFile(dir, 'f')).rejects.toThrow(/not a regular file/);
  await expect(readSecretFile(join(dir, 'none'), 'f')).rejects.toMatchObject({ code: 'part-missing' });
});

test('a pipe that nobody writes to is refused at once', async () => {
  const path = join(dir, 'fifo');
  execFileSync('mkfifo', ['-m', '600', path]);
  await expect(readSecretFile(path, 'f')).rejects.toThrow(/not a regular file/);
});
