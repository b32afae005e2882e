import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { HandedShard } from '../../../../scoring/batch/handed-shard.ts';
import { runCli } from '../../../support/cli.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'merit-lost-'));
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

test('a recompute tells what ended it, also where the server can no more be told to give the history back', async () => {
  mkdirSync(join(folder, 'archive'));
  writeFileSync(join(folder, 'token'), 'a'.repeat(32));
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url?.replace(/\?.*/, '')}`);
    const isClaim = request.url?.endsWith(':claim') === true;
    const pools = { items: [{ name: 'cpus', provider: 'local' }] };
    response.writeHead(200, { connection: 'close' });
    response.end(JSON.stringify(isClaim ? { claim: SHARD.claim, shards: [SHARD] } : pools));
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
