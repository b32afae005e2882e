import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseSuite } from '../../core/suite.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { http, kafka, Reporter } from '../../scoring/merit-reporter/src/index.ts';
import { runCli } from '../support/cli.ts';
import { asAdmin } from '../support/db.ts';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';
import { type Harness, harness, random, register, TRACE } from './scoring-online-support.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TOKEN = 'token-of-acme-0123456789';
const SUITE = parseSuite({
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'search',
  metrics: { accuracy: { direction: 'higher', floor: 0, ceil: 1 } },
});

let world: HttpWorld;
let h: Harness;
let url: string;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'merit-reporter-'));
  world = await httpWorld();
  h = await harness(world.database);
  await asAdmin(world.database.urls.admin, "insert into divisions (tenant, division) values ('acme', 'vision')");
  await register(world.database.db, { tenant: 'acme', actor: 't', traceId: TRACE, nowMs: Date.now() }, SUITE, ['m-1']);
  await world.app.listen({ host: '127.0.0.1', port: 0 });
  url = `http://127.0.0.1:${(world.app.server.address() as AddressInfo).port}`;
});

afterAll(async () => {
  await world?.close();
  rmSync(folder, { recursive: true, force: true });
});

let serial = 0;
const report = () => ({
  reportId: `r-${++serial}`,
  model: 'm-1',
  suite: 'search',
  observedAt: new Date(Date.now() - 60_000),
  metrics: { accuracy: 0.5 },
});

async function counts(): Promise<Record<string, number>> {
  await h.drain();
  const [row] = await asAdmin(
    world.database.urls.admin,
    `select coalesce(sum(accepted), 0)::int as accepted, coalesce(sum(duplicates), 0)::int as duplicates,
            coalesce(sum(quarantined + conflicts), 0)::int as bad from input_counters where tenant = 'acme'`,
  );
  return row as Record<string, number>;
}

describe('merit-reporter', () => {
  test('delivers each report once in effect over HTTP, though requests and replies are lost', async () => {
    const before = await counts();
    const chance = random(11);
    let lost = 0;
    const flaky: typeof fetch = async (...args) => {
      const luck = chance();
      if (luck < 0.25) {
        lost++;
        throw new Error('the request was lost');
      }
      const response = await fetch(...args);
      if (luck < 0.5) {
        lost++;
        throw new Error('the reply was lost');
      }
      return response;
    };
    const to = http({ url, token: TOKEN, fetch: flaky });
    const reporter = new Reporter({ to, producer: 'svc', packBytes: 4096, concurrency: 3 });
    for (let i = 0; i < 400; i++) await reporter.send(report());
    await reporter.close();
    const after = await counts();
    expect(lost).toBeGreaterThan(5);
    expect(after.accepted! - before.accepted!).toBe(400);
    expect(after.duplicates).toBeGreaterThan(0);
    expect(after.bad).toBe(0);
  });

  test('delivers each report once in effect through a Kafka client’s send', async () => {
    const before = await counts();
    const to = kafka({
      send: async (messages) => {
        for (const { key, value, headers } of messages)
          await h.log.append({ tenant: 'acme', topic: REPORTS_TOPIC, key, value, headers });
      },
    });
    const reporter = new Reporter({ to, producer: 'svc', tenant: 'acme' });
    for (let i = 0; i < 100; i++) await reporter.send(report());
    await reporter.close();
    expect((await counts()).accepted! - before.accepted!).toBe(100);
  });

  test('a token that is none is tried again, and given up when the reporter closes', async () => {
    const told: string[] = [];
    const to = http({ url, token: 'somebody-else-0123456789' });
    const reporter = new Reporter({ to, producer: 'svc', lingerMs: 1, onRetry: (error) => told.push(error.message) });
    await reporter.send(report());
    await expect(reporter.close({ timeoutMs: 300 })).rejects.toMatchObject({ count: 1 });
    expect(told[0]).toContain('401');
    expect(told.join()).not.toContain('somebody-else');
  });

  test('builds to JavaScript with types, which Node runs without Merit', () => {
    const installed = join(folder, 'node_modules', 'merit-reporter');
    mkdirSync(join(folder, 'node_modules'), { recursive: true });
    cpSync(join(ROOT, 'scoring', 'merit-reporter'), installed, {
      recursive: true,
      filter: (path) => !path.endsWith('/dist'),
    });
    symlinkSync(join(ROOT, 'node_modules', '@types'), join(folder, 'node_modules', '@types'));
    const node = (...args: string[]) =>
      execFileSync(process.execPath, args, { cwd: folder, encoding: 'utf8', env: { PATH: process.env.PATH ?? '' } });
    node(join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', join(installed, 'tsconfig.build.json'));
    rmSync(join(installed, 'src'), { recursive: true });
    writeFileSync(
      join(folder, 'main.mjs'),
      "import { reportKey, Reporter, shardOf } from 'merit-reporter'; console.log(typeof Reporter, shardOf(reportKey('t', 'p', 'r')));",
    );
    expect(node('main.mjs')).toMatch(/^function [0-9]+\n$/);
  });
});

describe('merit reports send', () => {
  test('hands a file over, bad lines too, and tells what was taken', async () => {
    writeFileSync(join(folder, 'token'), `${TOKEN}\n`, { mode: 0o600 });
    writeFileSync(join(folder, 'server.json'), JSON.stringify({ url, tokenFile: join(folder, 'token') }));
    const lines = Array.from({ length: 20 }, () => JSON.stringify({ schemaVersion: 1, producer: 'ci', ...report() }));
    writeFileSync(join(folder, 'r.ndjson'), `${lines.join('\n')}\n{"broken":\n`);
    const before = await counts();
    const sent = await runCli(folder, ['reports', 'send', '--reports', join(folder, 'r.ndjson'), '-o', 'json']);
    expect(sent.code).toBe(0);
    expect(JSON.parse(sent.out)).toMatchObject({ lines: 21, messages: 1 });
    const after = await counts();
    expect([after.accepted! - before.accepted!, after.bad! - before.bad!]).toEqual([20, 1]);
    const again = await runCli(folder, ['reports', 'send', '--reports', join(folder, 'r.ndjson')]);
    expect(again.out).toMatch(/^21 lines taken; [0-9]+ messages wait to be read\n$/);
    expect((await counts()).accepted).toBe(after.accepted);
    expect((await runCli(folder, ['reports', 'send', '--reports', join(folder, 'none.ndjson')])).code).toBe(3);
  });

  test('a line that no report can be is told before it is held whole', async () => {
    const good = `${JSON.stringify({ schemaVersion: 1, producer: 'ci', ...report() })}\n`;
    writeFileSync(join(folder, 'wide.ndjson'), `${good}${'\n'.repeat(4)}${'x'.repeat(3 * 1024 * 1024)}`);
    const refused = await runCli(folder, ['reports', 'send', '--reports', join(folder, 'wide.ndjson')]);
    expect(refused).toMatchObject({ code: 3, out: '' });
    expect(refused.err).toContain('wide.ndjson", line 6: is longer than 1 MiB');
  });
});
