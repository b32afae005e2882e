import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RUN } from '../../../../api/cli/recompute-on.ts';
import type { HandedShard } from '../../../../scoring/batch/handed-shard.ts';
import { runCli } from '../../../support/cli.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'merit-shares-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const SHARD: HandedShard = {
  claim: 'jobs/1',
  rollout: 'r',
  tenant: 'acme',
  suite: {},
  suiteHash: '0'.repeat(64),
  topic: 'merit.reports',
  generation: 'one',
  partition: 0,
  keptFrom: { '1m': 0, '15m': 0, '1h': 0 },
  onTimeFromMs: null,
  fromOffset: '0',
  untilOffset: '5',
  untilLine: 0,
  legs: [],
};

describe('a job of a recompute', () => {
  const run = () => {
    writeFileSync(
      join(folder, 'merit.mjs'),
      'import { writeFileSync } from "node:fs"; writeFileSync("asked", process.argv.slice(2).join(" "));',
    );
    const env = { PATH: '/usr/bin:/bin', MERIT_ARRAY_INDEX: '5', MERIT_ARRAY_COUNT: '8', MERIT_OUTPUTS: 'out' };
    const merit = { SHARD_NODE: process.execPath, SHARD_LAUNCHER: join(folder, 'merit.mjs') };
    return spawnSync('sh', ['-c', RUN], { cwd: folder, env: { ...env, ...merit }, encoding: 'utf8' });
  };
  const asked = () => readFileSync(join(folder, 'asked'), 'utf8');

  test('counts its share of what was handed over, out of the archive that was sent with it', () => {
    mkdirSync(join(folder, 'place', 'archive'), { recursive: true });
    writeFileSync(join(folder, 'place.txt'), 'place\n');
    expect(run()).toMatchObject({ status: 0, stderr: '' });
    expect(asked()).toBe('recompute --handed shards.json --archive place --shard 5/8 --into out/shard.panes');
  });

  test('leaves an archive in S3 to be found by merit, and splices nothing of its name into a command', () => {
    writeFileSync(join(folder, 'place.txt'), 's3://bucket/$(touch spliced) it\n');
    expect(run()).toMatchObject({ status: 0, stderr: '' });
    expect(asked()).toContain('--archive s3://bucket/$(touch spliced) it --shard 5/8');
    expect(() => readFileSync(join(folder, 'spliced'))).toThrow('ENOENT');
  });

  test('on a node that does not see the archive says so before all else', () => {
    writeFileSync(join(folder, 'place.txt'), '/mnt/not there\n');
    const { status, stderr } = run();
    expect(stderr).toMatch(/no archive at \/mnt\/not there: mount it there .* or have it sent/);
    expect(status).toBe(69);
  });
});

describe('what a job is given is refused by its field:', () => {
  const handed = (value: unknown, ...more: readonly string[]) => {
    writeFileSync(join(folder, 'shards.json'), typeof value === 'string' ? value : JSON.stringify(value));
    return runCli(folder, ['recompute', '--handed', 'shards.json', '--archive', folder, ...more]);
  };
  const place = (text: string) => ['--shard', text, '--into', 'out'];

  test.each<[string, unknown, readonly string[], number, string]>([
    ['no share', [SHARD], [], 2, '--handed needs --shard and --into'],
    ['a share beyond the last', [SHARD, SHARD], place('4/4'), 3, 'no share of 2 partitions'],
    ['a count that does not divide', [SHARD, SHARD], place('0/3'), 3, 'no share of 2 partitions'],
    ['words', [SHARD], place('one/two'), 3, 'no share of 1 partitions'],
    ['nothing', [], place('0/1'), 3, 'must'],
    ['half a shard', [{ ...SHARD, legs: undefined }], place('0/1'), 3, '0.legs'],
    ['a member that is none', [{ ...SHARD, password: 'x' }], place('0/1'), 3, '0.password'],
    ['no JSON', '{', place('0/1'), 3, '--handed'],
    ['no archive', [SHARD], place('0/1'), 3, 'has no folder "archive"'],
  ])('%s', async (_, value, more, code, problem) => {
    const ended = await handed(value, ...more);
    expect(ended.err).toContain(problem);
    expect(ended.code).toBe(code);
  });
});

test('a recompute without a suite or a pool says what is missing', async () => {
  expect(await runCli(folder, ['recompute', '--archive', folder])).toMatchObject({
    code: 2,
    err: expect.stringContaining('a suite and --on are needed'),
  });
});

test('a recompute tells what ended it, also where the server can no more be told to give the history back', async () => {
  const shard: HandedShard = {
    ...SHARD,
    legs: [
      {
        partition: 0,
        partitions: 1,
        from: { offset: '0', line: 0 },
        to: { offset: '5', line: 0 },
        servedSince: null,
        asides: [],
      },
    ],
  };
  mkdirSync(join(folder, 'archive'));
  writeFileSync(join(folder, 'token'), 'a'.repeat(32));
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url?.replace(/\?.*/, '')}`);
    const isClaim = request.url?.endsWith(':claim') === true;
    const pools = { items: [{ name: 'cpus', provider: 'local' }] };
    response.writeHead(200, { connection: 'close' });
    response.end(JSON.stringify(isClaim ? { claim: shard.claim, shards: [shard] } : pools));
    // Neither the server nor what says where it is.
    if (!isClaim) return;
    server.close();
    rmSync(join(folder, 'server.json'));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  writeFileSync(join(folder, 'server.json'), JSON.stringify({ url, tokenFile: 'token' }));
  const ended = await runCli(folder, ['recompute', 'board', '--on', 'cpus', '--archive', folder]);
  expect(asked).toEqual(['GET /v1/pools', 'POST /v1/suites/board/rollout:claim']);
  expect(ended).toMatchObject({ code: 3, err: expect.stringContaining('has no segment of merit.reports') });
});
