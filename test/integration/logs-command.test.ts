import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { LogPiece, LogQuery } from '../../api/http/jobs-service.ts';
import { buildHttpServer } from '../../api/http/server.ts';
import type { View } from '../../api/http/services.ts';
import { sha256Hex } from '../../core/canonical.ts';
import { type CuttingProxy, cuttingProxy } from '../support/cutting-proxy.ts';
import { fakeServices, JOB_ID, TOKEN } from '../unit/api/http/fake-services.ts';

/** `merit logs` and `merit artifacts get` against the real HTTP server, over a connection that is cut. */
const MAIN = fileURLToPath(new URL('../../api/cli/main.ts', import.meta.url));
const CHUNK = 300_000;

interface Attempt {
  log: Buffer;
  done: boolean;
  end: 'complete' | 'lost' | null;
}
let attempts: Attempt[] = [];
let state = 'applied';
let files = new Map<string, Buffer>();
let manifestFiles: readonly { readonly path: string; readonly size: number; readonly sha256: string }[] = [];
let home: string;
let proxy: CuttingProxy;
let url: string;
let app: ReturnType<typeof buildHttpServer>;

function pieceOf(query: LogQuery): LogPiece {
  const number = query.attempt ?? attempts.length;
  const attempt = attempts[number - 1];
  const ended = !['waiting', 'applied'].includes(state);
  const job = { state, ended, reasons: [], newestAttempt: attempts.length };
  if (attempt === undefined)
    return {
      bytes: Buffer.alloc(0),
      nextByte: query.fromByte,
      attempt: null,
      done: ended,
      end: null,
      size: null,
      fault: null,
      job,
    };
  const bytes = attempt.log.subarray(query.fromByte, query.fromByte + Math.min(query.maxBytes, CHUNK));
  const nextByte = query.fromByte + bytes.length;
  const size = attempt.end === null ? null : attempt.log.length;
  const done = attempt.done && nextByte >= attempt.log.length;
  return { bytes, nextByte, attempt: number, done, end: attempt.end, size, fault: null, job };
}

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'merit-logs-'));
  const fake = fakeServices();
  const view = (): View => ({ id: JOB_ID, name: 'train', state, attempt: attempts.length, reasons: [] });
  app = buildHttpServer({
    ...fake.services,
    jobs: {
      ...fake.services.jobs,
      get: async (_tx, _caller, id) => (id === JOB_ID ? view() : undefined),
      logs: async (_caller, id, query) => (id === JOB_ID ? pieceOf(query) : undefined),
      logTail: async (_caller, _id, { lines }) => {
        const text = attempts[0]?.log.toString('latin1') ?? '';
        return {
          attempt: 1,
          fromByte:
            text
              .split('\n')
              .slice(0, -lines - 1)
              .join('\n').length + 1,
        };
      },
      artifacts: async () => ({ files: manifestFiles as never }),
    },
    artifacts: {
      ...fake.services.artifacts,
      file: async (_tx, _id, path) => {
        const bytes = files.get(path);
        const named = manifestFiles.find((file) => file.path === path);
        return bytes && named && { ...named, objectKey: path, attempt: 1 };
      },
      open: async ({ path }, { from = 0 }) => {
        const bytes = files.get(path) ?? Buffer.alloc(0);
        return Readable.from(
          (function* () {
            for (let at = from; at < bytes.length; at += 50_000) yield bytes.subarray(at, at + 50_000);
          })(),
        );
      },
    },
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  proxy = await cuttingProxy(url);
  writeFileSync(join(home, 'token'), `${TOKEN}\n`, { mode: 0o600 });
  writeFileSync(join(home, 'server.json'), JSON.stringify({ url: proxy.url, tokenFile: join(home, 'token') }));
});
afterAll(async () => {
  await proxy.close();
  await app.close();
  rmSync(home, { recursive: true, force: true });
});
beforeEach(() => {
  attempts = [{ log: Buffer.alloc(0), done: false, end: null }];
  state = 'applied';
});

function start(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, ['--conditions=merit-source', MAIN, ...args], {
    cwd: home,
    env: { PATH: process.env.PATH ?? '', MERIT_HOME: home },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}
async function merit(...args: readonly string[]) {
  const child = start(args);
  const [out, err, code] = await Promise.all([
    buffer(child.stdout!),
    buffer(child.stderr!),
    new Promise<number | null>((resolve) => child.on('close', resolve)),
  ]);
  return { out, err: err.toString(), code };
}
const ended = (how: string, end: Attempt['end'] = 'complete') => {
  Object.assign(attempts.at(-1)!, { done: true, end });
  state = how;
};

describe('merit logs', () => {
  test('is the log byte for byte, also what is no text, over connections that are cut', async () => {
    attempts[0]!.log = randomBytes(1_500_000);
    ended('released');
    proxy.cutAfter('down', 200_000, 2);
    const { out, code } = await merit('logs', JOB_ID);
    expect(code).toBe(0);
    expect(out.equals(attempts[0]!.log)).toBe(true);
  });

  test('-f is every byte once, while it is written and over cuts, and exits as the job did', async () => {
    const whole = Buffer.concat([
      Buffer.from('grün\u001b[31m '.repeat(60_000)),
      randomBytes(100_000),
      Buffer.from('end\n'),
    ]);
    const child = start(['logs', JOB_ID, '-f']);
    const reading = Promise.all([buffer(child.stdout!), buffer(child.stderr!)]);
    const closed = new Promise<number | null>((resolve) => child.on('close', resolve));
    proxy.cutAfter('down', 150_000, 2);
    for (let at = 0; at < whole.length; at += 100_003) {
      attempts[0]!.log = whole.subarray(0, at + 100_003);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    ended('failed');
    const [out, err] = await reading;
    expect(await closed).toBe(8);
    expect(out.equals(whole)).toBe(true);
    expect(err.toString()).toContain('train is failed');
  });

  test('-f goes on with the next attempt from its first byte; what was lost is told', async () => {
    attempts[0]!.log = Buffer.from('first\n');
    ended('applied', 'lost');
    attempts.push({ log: Buffer.from('second\n'), done: false, end: null });
    ended('released', 'lost');
    const { out, err, code } = await merit('logs', JOB_ID, '-f', '--from-byte', '0');
    expect({ out: out.toString(), code }).toEqual({ out: 'second\n', code: 0 });
    expect(err).toContain('its provider had gone');
    const first = await merit('logs', JOB_ID, '-f', '--attempt', '1');
    expect({ out: first.out.toString(), code: first.code }).toEqual({ out: 'first\n', code: 0 });
  });

  test('begins at a byte, or at the last lines', async () => {
    attempts[0]!.log = Buffer.from('one\ntwo\nthree\n');
    ended('released');
    expect((await merit('logs', JOB_ID, '--from-byte', '4')).out.toString()).toBe('two\nthree\n');
    expect((await merit('logs', JOB_ID, '--tail', '1')).out.toString()).toBe('three\n');
    expect(await merit('logs', JOB_ID, '--tail', '1', '--from-byte', '4')).toMatchObject({ code: 2 });
  });

  test('of an attempt that never was is not found, and not empty', async () => {
    ended('released');
    const { code, err } = await merit('logs', JOB_ID, '--attempt', '9');
    expect(code).toBe(9);
    expect(err).toContain('no such attempt');
    expect(await merit('logs', JOB_ID)).toMatchObject({ code: 0 });
  });
});

describe('its stream', () => {
  const blocks = async (headers: Record<string, string>, path = '') => {
    const response = await fetch(`${url}/v1/jobs/${JOB_ID}/logs${path}`, {
      headers: { authorization: `Bearer ${TOKEN}`, accept: 'text/event-stream', ...headers },
    });
    return (await response.text()).split('\n\n').filter((block) => block.includes('event:'));
  };

  test('names the byte behind each event, goes on behind the last one, and ends with the state of the job', async () => {
    attempts[0]!.log = Buffer.from('grün\nzwei\n');
    ended('failed');
    const all = await blocks({});
    expect(all.map((block) => /event: (\w+)/.exec(block)?.[1])).toEqual(['state', 'attempt', 'log', 'end']);
    expect(all[2]).toBe('id: 11\nevent: log\ndata: {"text":"grün\\nzwei\\n"}');
    expect(JSON.parse(all[3]!.split('data: ')[1]!)).toMatchObject({
      state: 'failed',
      attempt: 1,
      log: 'complete',
      bytes: 11,
    });
    const rest = await blocks({ 'last-event-id': '6' });
    expect(rest.find((block) => block.includes('event: log'))).toBe('id: 11\nevent: log\ndata: {"text":"zwei\\n"}');
    const response = await fetch(`${url}/v1/jobs/${JOB_ID}/logs`, {
      headers: { authorization: `Bearer ${TOKEN}`, accept: 'text/event-stream', 'last-event-id': 'x' },
    });
    expect(response.status).toBe(400);
  });

  test('of a later attempt names that too', async () => {
    attempts = [
      { log: Buffer.from('one'), done: true, end: 'complete' },
      { log: Buffer.from('two'), done: true, end: 'complete' },
    ];
    state = 'released';
    const all = await blocks({ 'last-event-id': '3' });
    expect(all.filter((block) => block.includes('event: log'))).toEqual(['id: 2:3\nevent: log\ndata: {"text":"two"}']);
  });

  test('a range is a piece, with what there is in all once that is known', async () => {
    attempts[0]!.log = Buffer.from('0123456789');
    ended('released');
    const get = (headers: Record<string, string>) =>
      fetch(`${url}/v1/jobs/${JOB_ID}/logs`, { headers: { authorization: `Bearer ${TOKEN}`, ...headers } });
    const part = await get({ range: 'bytes=2-4' });
    expect([part.status, part.headers.get('content-range'), await part.text()]).toEqual([206, 'bytes 2-4/10', '234']);
    expect((await get({ range: 'bytes=10-' })).status).toBe(416);
    const whole = await get({});
    expect([whole.headers.get('content-length'), whole.headers.get('merit-log-end')]).toEqual(['10', 'complete']);
  });
});

describe('merit artifacts get', () => {
  const leave = (entries: Record<string, Buffer>) => {
    files = new Map(Object.entries(entries));
    manifestFiles = [...files].map(([path, bytes]) => ({ path, size: bytes.length, sha256: sha256Hex(bytes) }));
  };

  test('brings every file whole, over connections that are cut, and goes on where an earlier run broke off', async () => {
    const model = randomBytes(2_000_000);
    leave({ 'model.bin': model, 'sub/notes ü.txt': Buffer.from('notes') });
    proxy.cutAfter('down', 300_000, 2);
    mkdirSync(join(home, 'one'));
    writeFileSync(join(home, 'one', `.${sha256Hex(model).slice(0, 32)}.part`), model.subarray(0, 1_000_000));
    const before = proxy.bytes.down;
    const { code } = await merit('artifacts', 'get', JOB_ID, '--out', 'one');
    expect(code).toBe(0);
    expect(readFileSync(join(home, 'one', 'model.bin')).equals(model)).toBe(true);
    expect(readFileSync(join(home, 'one', 'sub', 'notes ü.txt'), 'utf8')).toBe('notes');
    expect(proxy.bytes.down - before).toBeLessThan(1_900_000);
  });

  test('other bytes than the manifest names get no name, and exit 10', async () => {
    leave({ a: Buffer.from('right') });
    manifestFiles = [{ path: 'a', size: 5, sha256: sha256Hex('wrong') }];
    expect((await merit('artifacts', 'get', JOB_ID, '--out', 'two')).code).toBe(10);
    expect(existsSync(join(home, 'two', 'a'))).toBe(false);
  });

  test('a path that leads out of the folder is refused, by its text or by a link on the way', async () => {
    leave({ 'sub/a': Buffer.from('x') });
    mkdirSync(join(home, 'three'));
    mkdirSync(join(home, 'elsewhere'));
    symlinkSync(join(home, 'elsewhere'), join(home, 'three', 'sub'));
    expect((await merit('artifacts', 'get', JOB_ID, '--out', 'three')).code).toBe(3);
    manifestFiles = [{ path: '../escaped', size: 1, sha256: sha256Hex('x') }];
    expect((await merit('artifacts', 'get', JOB_ID, '--out', 'three')).code).toBe(10);
    expect(existsSync(join(home, 'elsewhere', 'a')) || existsSync(join(home, 'escaped'))).toBe(false);
  });
});
