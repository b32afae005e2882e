import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Claim } from '../support/claimer.ts';

const CLAIMERS = 4;
/** With the record taken away without a turn, two had it in 3 rounds of 100. */
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
    await mkdir(stateDir);
    await writeFile(join(stateDir, 'server.pid'), JSON.stringify({ pid: 999_999_999, startTime: 'gone' }));
    const claim: Claim = { stateDir, atMs: Date.now() + 10 };
    const answers = claimers.map((claimer) => once(claimer, 'message'));
    for (const claimer of claimers) claimer.send(claim);
    const won = (await Promise.all(answers)).filter(([has]) => has === true);
    expect(won, `round ${round}`).toHaveLength(1);
    expect(await readdir(stateDir)).toEqual(['server.pid']);
  }
});

test('a turn that a dying process left behind holds nobody up', async () => {
  const stateDir = join(root, 'turn');
  await mkdir(stateDir);
  for (const name of ['server.pid', 'server.pid.turn'])
    await writeFile(join(stateDir, name), JSON.stringify({ pid: 999_999_999, startTime: 'gone' }));
  const answer = once(claimers[0]!, 'message');
  claimers[0]!.send({ stateDir, atMs: 0 } satisfies Claim);
  expect((await answer)[0]).toBe(true);
  expect(await readdir(stateDir)).toEqual(['server.pid']);
});
