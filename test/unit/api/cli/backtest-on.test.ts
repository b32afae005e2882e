import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RUN } from '../../../../api/cli/backtest-on.ts';
import { howSent } from '../../../../api/cli/booked-shards.ts';

const MIB = 1024 ** 2;

describe('how shards get what they read', () => {
  const pools = (...kinds: readonly string[]) => kinds.map((provider, i) => ({ name: `p${i}`, provider }));
  test.each([
    ['where they lie, on this machine', pools('local'), 5, 'shared'],
    ['sent, where nobody tells whether the nodes see them', pools('ray'), 11, 'sent'],
    ['sent, where one of the pools is elsewhere', pools('local', 'ray'), 5, 'sent'],
    ['sent, as much as may be sent', pools('ray'), 96 * MIB, 'sent'],
    ['by the same paths, where they are more', pools('ray'), 96 * MIB + 1, 'shared'],
  ])('%s', (_, of, given, how) => {
    expect(howSent(of, given)).toBe(how);
  });
});

describe('a job of a backtest', () => {
  let node: string;
  beforeEach(() => {
    node = mkdtempSync(join(tmpdir(), 'merit-node-'));
    writeFileSync(join(node, 'merit.mjs'), '');
  });
  afterEach(() => rmSync(node, { recursive: true, force: true }));
  const run = (launcher = 'merit.mjs') => {
    const env = { PATH: '/usr/bin:/bin', MERIT_ARRAY_INDEX: '1', MERIT_ARRAY_COUNT: '3', MERIT_OUTPUTS: 'out' };
    const merit = { SHARD_NODE: process.execPath, SHARD_LAUNCHER: join(node, launcher) };
    return spawnSync('sh', ['-c', RUN], { cwd: node, env: { ...env, ...merit }, encoding: 'utf8' });
  };

  test('on a node that lacks a file says which and what mends it, before it reads anything', () => {
    writeFileSync(join(node, 'reports.txt'), 'merit.mjs\n/mnt/two of them.ndjson\n');
    const { status, stderr } = run();
    expect(stderr).toMatch(/no file \/mnt\/two of them\.ndjson: mount it there .* or have it sent/);
    expect(status).toBe(69);
  });

  test('on a node without merit says that it is missing', () => {
    const { status, stderr } = run('nowhere.mjs');
    expect(stderr).toMatch(/has no merit: install it/);
    expect(status).toBe(69);
  });

  test('reads its own shard by the merit of whoever asked', () => {
    writeFileSync(join(node, 'reports.txt'), 'merit.mjs\n');
    writeFileSync(
      join(node, 'merit.mjs'),
      'import { writeFileSync } from "node:fs"; writeFileSync("asked", process.argv.slice(2).join(" "));',
    );
    expect(run()).toMatchObject({ status: 0, stderr: '' });
    expect(readFileSync(join(node, 'asked'), 'utf8')).toBe(
      'backtest --suite suite.json --reports-list reports.txt --shard 1/3 --into out/shard.readings',
    );
  });
});
