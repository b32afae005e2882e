import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runCli } from '../../../support/cli.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'merit-send-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('reports are read from where the command was asked, whatever folder the process is in', async () => {
  writeFileSync(join(folder, 'token'), 'a'.repeat(32));
  writeFileSync(join(folder, 'r.ndjson'), '{"reportId":"one"}\n');
  const sent: string[] = [];
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    sent.push(gunzipSync(Buffer.concat(parts)).toString());
    response.writeHead(202, { connection: 'close' });
    response.end(JSON.stringify({ messages: 1, lines: 1, bytes: 19 }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  writeFileSync(join(folder, 'server.json'), JSON.stringify({ url, tokenFile: 'token' }));
  const ended = await runCli(folder, ['reports', 'send', '--reports', 'r.ndjson']);
  server.close();
  expect(ended).toMatchObject({ code: 0, out: expect.stringContaining('1 lines taken') });
  expect(sent).toEqual(['{"reportId":"one"}\n']);
  expect(await runCli(folder, ['reports', 'send', '--reports', 'none.ndjson'])).toMatchObject({
    code: 3,
    err: expect.stringContaining('none.ndjson'),
  });
});
