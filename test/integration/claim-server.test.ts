import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Claim } from '../support/claimer.ts';

const CLAIMERS = 4;
/** Where a record is looked at and then removed, two have the folder in about 3 rounds of 100. */
const ROUNDS = 150;

let root: string;
const claimers: ChildProcess[] = [];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'merit-claims-'));
  const script = fileURLToPath(new URL('../support/claimer.ts', import.meta.url));
  for (let i = 0; i < CLAIMERS; i++) claimers.push(fork(script, { execArgv: [] }));
  await Promise.all(claimers.map((claimer) => once(claimer, 'message')));
});
afterAll(async () => {
  for (const claimer of claimers) if (claimer.connected) claimer.disconnect();
  await rm(root, { recursive: true });
});

test('of several that start at once where a server died, exactly one has the state folder', async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const stateDir = join(root, String(round));
    const lock = join(stateDir, 'server.lock');
    await mkdir(lock, { recursive: true });
    await symlink(JSON.stringify({ pid: 999_999_999, startTime: 'gone' }), join(lock, '7'));
    const claim: Claim = { stateDir, atMs: Date.now() + 10 };
    const answers = claimers.map((claimer) => once(claimer, 'message'));
    for (const claimer of claimers) claimer.send(claim);
    const won = (await Promise.all(answers)).filter(([has]) => has === true);
    expect(won, `round ${round}`).toHaveLength(1);
    expect(await readdir(lock), `round ${round}`).toEqual(['8']);
  }
});

test('one that takes it and gives it back over and over is never there beside another', async () => {
  const counts = await Promise.all(
    claimers.map(async (claimer) => {
      const answer = once(claimer, 'message');
      claimer.send({ stateDir: join(root, 'over'), atMs: 0, times: 200 } satisfies Claim);
      return (await answer)[0] as { had: number; met: number };
    }),
  );
  for (const { had, met } of counts) expect([had, met]).toEqual([200, 0]);
});
