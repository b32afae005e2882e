import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildHttpServer } from '../../api/http/server.ts';
import type { View } from '../../api/http/services.ts';
import { ProviderError } from '../../providers/provider.ts';
import { type Fake, fakeServices, JOB_ID, TOKEN } from '../unit/api/http/fake-services.ts';

const MAIN = fileURLToPath(new URL('../../api/cli/main.ts', import.meta.url));

let fake: Fake;
let app: FastifyInstance;
let home: string;
let states: string[];
let verdict = 'admit';
let providerAway = false;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'merit-cli-'));
  fake = fakeServices();
  const { jobs } = fake.services;
  const view = (state: string): View => ({ id: JOB_ID, name: 'train\u001b[2J', state, attempt: 1, reasons: [] });
  app = buildHttpServer({
    ...fake.services,
    jobs: {
      ...jobs,
      submit: async () => view('waiting'),
      get: async (_tx, _caller, id) =>
        id === JOB_ID ? view(states.length > 1 ? states.shift()! : states[0]!) : undefined,
      list: async () => ({ items: [view('waiting')], last: undefined }),
      plan: async () => ({ name: 'train', offers: [], verdict, reasons: [] }),
      why: async () => ({
        id: JOB_ID,
        name: 'train',
        state: 'rejected',
        attempt: 1,
        reasons: [{ code: 'policy_denied', text: 'policy says no', mend: 'ask the owner' }],
        attempts: [],
      }),
      logs: async (_caller, _id, { fromByte }) => {
        const log = Buffer.from('line one\n\u001b[31mline two\n').subarray(fromByte);
        const state = states.length > 1 ? states.shift()! : states[0]!;
        const job = { state, ended: state !== 'waiting' && state !== 'applied', reasons: [], newestAttempt: 1 };
        const at = { attempt: 1, end: null, size: null, job };
        if (providerAway)
          return {
            ...at,
            bytes: Buffer.alloc(0),
            nextByte: fromByte,
            done: job.ended,
            fault: new ProviderError('transient', 'Ray is unreachable'),
          };
        return { ...at, bytes: log, nextByte: fromByte + log.length, done: job.ended, fault: null };
      },
      verify: async () => ({
        ok: false,
        filesRead: 1,
        bytesRead: 3,
        findings: [{ kind: 'changed_object', path: 'model.bin' }],
      }),
    },
    pools: { ...fake.services.pools, quotas: async () => [{ kind: 'quota', division: 'vision', pool: 'cpu' }] },
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  writeFileSync(join(home, 'token'), `${TOKEN}\n`, { mode: 0o600 });
  writeFileSync(
    join(home, 'server.json'),
    JSON.stringify({
      url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`,
      tokenFile: join(home, 'token'),
    }),
  );
  states = ['released'];
});
afterAll(async () => {
  await app.close();
  rmSync(home, { recursive: true, force: true });
});

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function start(
  args: readonly string[],
  options: { readonly env?: Record<string, string>; readonly stdout?: number } = {},
): ChildProcess {
  const child = spawn(process.execPath, ['--conditions=merit-source', MAIN, ...args], {
    cwd: home,
    env: { PATH: process.env.PATH ?? '', MERIT_HOME: home, ...options.env },
    stdio: ['ignore', options.stdout ?? 'pipe', 'pipe'],
  });
  return child;
}

async function ended(child: ChildProcess): Promise<Ended> {
  let out = '';
  let err = '';
  child.stdout?.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    err += chunk;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, out, err };
}

const merit = (...args: string[]) => ended(start(args));

describe('words that are no command line are 2, and say what was meant', () => {
  test.each([
    ['C02', ['submit', '--gpu=1'], '--gpus'],
    ['C03', ['subimt'], 'submit'],
    ['C05', ['submit', '--gpus'], '--gpus'],
    ['C20', ['cancel', JOB_ID], '--yes'],
    ['C20', ['submit', '--pool', 'cpu', '--', 'true'], '--yes'],
    ['C28', ['ps', '--token', 'abc'], '--token'],
    ['C42', ['audit', 'verify', 'bundle.jsonl'], '--roots'],
    ['C45', ['migrate', 'down'], 'down'],
    ['a noun without a verb', ['jobs'], 'ls'],
    ['two sources of reports', ['score', '--suite=s', '--at=x', '--archive=.', '--reports=r'], '--reports'],
    ['two sources of reports', ['backtest', '--suite=s', '--archive=.', '--reports-list=r'], '--reports-list'],
  ])('%s: merit %j', async (_row, args, named) => {
    const { code, out, err } = await merit(...args);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(named);
    expect(err).not.toContain('    at ');
  });
});

describe('values that cannot be are 3', () => {
  const bad = [
    '--gpus=-1',
    '--gpus=1e3',
    '--gpus=0x10',
    '--gpus=1_000',
    '--gpus=',
    '--max-cost=10,5',
    '--pool=../x',
    '--pool=a\nb',
    '--lease=forever',
    '--env=1=2',
    '--output=xml',
  ];
  test.each(bad)('C06–C12: submit %j', async (flag) => {
    const { code, out, err } = await merit('submit', flag, '-y', '--', 'true');
    expect([code, out]).toEqual([3, '']);
    // One line of problem and one of mend: nothing was injected.
    expect(err.trim().split('\n')).toHaveLength(2);
    expect(err).toContain(flag.split('=')[0]);
  });

  test('C13, C15–C18: a file that is missing, endless, a FIFO, too large or a folder', async () => {
    const large = join(home, 'large.yaml');
    writeFileSync(large, '');
    truncateSync(large, 5 * 1024 ** 3);
    const fifo = join(home, 'fifo');
    await once(spawn('mkfifo', [fifo]), 'close');
    for (const path of [join(home, 'none.yaml'), '/dev/zero', large, fifo, home]) {
      const { code, out, err } = await merit('submit', '-y', `--file=${path}`);
      expect([path, code, out]).toEqual([path, 3, '']);
      expect(err).toContain(JSON.stringify(path));
    }
  });

  test('a file that is no YAML, or tells two things, is refused with its place', async () => {
    writeFileSync(join(home, 'bad.yaml'), 'name: [\n');
    expect(await merit('suites', 'apply', '-f', 'bad.yaml')).toMatchObject({
      code: 3,
      out: '',
      err: expect.stringContaining('line '),
    });
    writeFileSync(join(home, 'twice.json'), '{"name":"a","name":"b"}');
    expect(await merit('suites', 'apply', '-f', 'twice.json')).toMatchObject({
      code: 3,
      err: expect.stringContaining('twice'),
    });
  });
});

describe('output is data', () => {
  test('C23: escapes in server texts are stripped in a table and escaped in JSON', async () => {
    const shown = await merit('ps');
    expect(shown.out).toContain('train');
    expect(shown.out).not.toContain('\u001b');
    const json = await merit('ps', '-o', 'json');
    expect(json.out).not.toContain('\u001b');
    expect(JSON.parse(json.out)).toEqual([expect.objectContaining({ id: JOB_ID, name: 'train\u001b[2J' })]);
    expect((await merit('ps', '-o', 'name')).out).toBe(`${JOB_ID}\n`);
    expect((await merit('ps', '-o', 'yaml')).out).toContain(`id: ${JOB_ID}`);
  });

  test('C48: with -o json an error is JSON on stderr, and stdout is empty', async () => {
    for (const args of [
      ['jobs', 'get', '01k00000000000000000000009', '-o', 'json'],
      ['submit', '--gpus=x', '--output=json'],
    ]) {
      const { code, out, err } = await merit(...args);
      expect(out).toBe('');
      expect(JSON.parse(err)).toEqual({
        error: expect.objectContaining({ exitCode: code, code: expect.any(String), problem: expect.any(String) }),
      });
    }
  });

  test('C21: a closed stdout ends it quietly', async () => {
    const child = start(['completion', 'bash']);
    child.stdout?.destroy();
    const { err } = await ended(child);
    expect(err).toBe('');
  });

  test('C22: a full disk is told, never taken for success', async () => {
    const full = openSync('/dev/full', 'w');
    const { code, err } = await ended(start(['ps'], { stdout: full }));
    expect(code).toBe(1);
    expect(err).toContain('could not be written');
  });
});

describe('exit codes say what happened', () => {
  test('9: no such job; 6: no server; 4: a wrong token; 78: a token over plain http', async () => {
    expect((await merit('why', '01k00000000000000000000009')).code).toBe(0);
    expect((await merit('jobs', 'get', '01k00000000000000000000009')).code).toBe(9);
    expect((await ended(start(['ps'], { env: { MERIT_HOME: join(home, 'nowhere') } }))).code).toBe(6);
    expect(
      (await ended(start(['ps'], { env: { MERIT_URL: 'http://127.0.0.1:9', MERIT_TOKEN_FILE: join(home, 'token') } })))
        .code,
    ).toBe(6);
    writeFileSync(join(home, 'wrong'), 'a-wrong-token-0123456789\n');
    const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
    expect((await ended(start(['ps'], { env: { MERIT_URL: url, MERIT_TOKEN_FILE: join(home, 'wrong') } }))).code).toBe(
      4,
    );
    expect(
      (await ended(start(['ps'], { env: { MERIT_URL: 'http://192.0.2.1/', MERIT_TOKEN_FILE: join(home, 'token') } })))
        .code,
    ).toBe(78);
  });
  test('3: a state that no job can have, with those that it can', async () => {
    const { code, out, err } = await merit('jobs', 'ls', '--state', 'runing');
    expect([code, out]).toEqual([3, '']);
    expect(err).toContain('applied');
  });
  test('7: a plan that can never run', async () => {
    verdict = 'infeasible';
    const { code, out } = await merit('submit', '--pool', 'cpu', '--cpus', '1', '--dry-run', '--', 'true');
    verdict = 'admit';
    expect(code).toBe(7);
    expect(out).toContain('never');
  });
  test('a log that cannot be read now does not end who follows the job: its state tells how it ends', async () => {
    states = ['applied', 'applied', 'failed'];
    providerAway = true;
    const { code, err } = await merit('submit', '--pool', 'cpu', '--cpus', '1', '-y', '--', 'true');
    providerAway = false;
    expect(code).toBe(8);
    expect(err.match(/provider of this job is away/g)).toHaveLength(1);
  });
  test('10: a stored byte that differs, named', async () => {
    const { code, out } = await merit('jobs', 'verify', JOB_ID);
    expect(code).toBe(10);
    expect(out).toContain('model.bin');
  });
  test('submit --wait: 0 where the job ended well, 8 where it failed, 7 where it was denied, and why', async () => {
    for (const [state, exit] of [
      ['released', 0],
      ['failed', 8],
      ['rejected', 7],
    ] as const) {
      states = ['waiting', 'applied', state];
      const { code, out, err } = await merit(
        'submit',
        '--pool',
        'cpu',
        '--cpus',
        '1',
        '--wait',
        '-y',
        '-o',
        'json',
        '--',
        'python',
        'train.py',
      );
      expect([state, code]).toEqual([state, exit]);
      expect(JSON.parse(out)).toMatchObject({ id: JOB_ID, state });
      if (exit !== 0) expect(err).toContain('policy says no');
    }
  });
  test('submit follows: its log is on stdout, what happens on stderr', async () => {
    states = ['waiting', 'applied', 'released'];
    const { code, out, err } = await merit('submit', '--pool', 'cpu', '--cpus', '1', '-y', '--', 'python', 'train.py');
    expect([code, out]).toEqual([0, 'line one\n\u001b[31mline two\n']);
    expect(err).toContain('is applied');
  });
  test('submit -d prints the id and nothing else; --dry-run books nothing', async () => {
    expect(await merit('submit', '--pool', 'cpu', '--cpus', '1', '-y', '-d', '--', 'true')).toMatchObject({
      code: 0,
      out: `${JOB_ID}\n`,
    });
    const before = fake.keys.rows.size;
    expect((await merit('submit', '--pool', 'cpu', '--cpus', '1', '--dry-run', '--', 'true')).code).toBe(0);
    expect(fake.keys.rows.size).toBe(before);
  });
  test('C47: Ctrl-C while following detaches with 130 and says how to go on; the job is not cancelled', async () => {
    states = ['applied'];
    const child = start(['submit', '--pool', 'cpu', '--cpus', '1', '-y', '--', 'sleep', '100']);
    let err = '';
    let interrupted = false;
    child.stderr?.on('data', (chunk) => {
      err += chunk;
      if (interrupted || !err.includes('is applied')) return;
      interrupted = true;
      // Twice: from the terminal, and passed on by the launcher.
      for (let i = 0; i < 2; i++) child.kill('SIGINT');
    });
    const { code } = await ended(child);
    expect(code).toBe(130);
    expect(err).toContain(`merit logs ${JOB_ID} -f`);
    expect(fake.requests.some((request) => request.includes('cancel'))).toBe(false);
  });
});

describe('the offline check needs no server', () => {
  test('C36: an empty file is 11; a file that is missing 3; weak roots 3', async () => {
    const roots = join(home, 'roots.json');
    const { openFileSigner } = await import('../../platform/signer-file.ts');
    const { rootsText } = await import('../../ledger/audit/roots.ts');
    const signer = await openFileSigner({ path: join(home, 'signer.key'), create: true });
    writeFileSync(
      roots,
      rootsText([
        {
          keyId: signer.keyId,
          algorithm: signer.algorithm,
          publicKey: signer.publicKey,
          validFromMs: 0,
          validToMs: undefined,
        },
      ]),
    );
    writeFileSync(join(home, 'empty'), '');
    const nowhere = { env: { MERIT_HOME: join(home, 'nowhere') } };
    expect((await ended(start(['audit', 'verify', join(home, 'empty'), '--roots', roots], nowhere))).code).toBe(11);
    expect((await ended(start(['audit', 'verify', join(home, 'none'), '--roots', roots], nowhere))).code).toBe(3);
    writeFileSync(join(home, 'bad-roots'), '{}');
    expect(
      (await ended(start(['audit', 'verify', join(home, 'empty'), '--roots', join(home, 'bad-roots')], nowhere))).code,
    ).toBe(3);
  });
  test('migrate without a database says what to set', async () => {
    expect(await merit('migrate')).toMatchObject({ code: 78, err: expect.stringContaining('MIGRATE_DATABASE_URL') });
  });
});

test('doctor names every part with its state and mend, as data too', async () => {
  const { code, out } = await merit('doctor', '-o', 'json');
  const parts = (JSON.parse(out) as { part: string; state: string; mend: string | null }[]).filter(
    (part) => !part.part.startsWith('server:'),
  );
  expect(parts.map((part) => part.part)).toEqual([
    'Node',
    'npm packages',
    'Python',
    'Ray',
    'Postgres',
    'disk space',
    'state folder',
    'ports',
    'server',
  ]);
  for (const part of parts) if (part.state === 'missing') expect(part.mend).not.toBe('');
  expect(code).toBe(0);
});
