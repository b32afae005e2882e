import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BIN = join(ROOT, 'bin');

let folder: string;
/** A clone of the launcher alone whose command is a script of the test's. */
let clone: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'merit-launcher-'));
  clone = join(folder, 'clone');
  mkdirSync(join(clone, 'api', 'cli'), { recursive: true });
  cpSync(BIN, join(clone, 'bin'), { recursive: true });
  cpSync(join(ROOT, 'package.json'), join(clone, 'package.json'));
  symlinkSync(join(ROOT, 'node_modules'), join(clone, 'node_modules'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

function launch(path: string, args: readonly string[] = [], env: NodeJS.ProcessEnv = process.env): ChildProcess {
  return spawn(process.execPath, [path, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env, cwd: folder });
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
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal, out, err };
}

/** Runs `script` as the command of the clone. */
function command(script: string): ChildProcess {
  writeFileSync(join(clone, 'api', 'cli', 'main.ts'), script);
  return launch(join(clone, 'bin', 'merit.mjs'), ['ps']);
}

async function saying(child: ChildProcess): Promise<string> {
  const [chunk] = (await once(child.stdout!, 'data')) as [Buffer];
  return chunk.toString();
}

async function gone(pid: number): Promise<boolean> {
  for (let i = 0; i < 100; i++) {
    try {
      process.kill(pid, 0);
    } catch {
      return true;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
}

const WAITS = 'console.log(process.pid); setInterval(() => {}, 1000);';

describe('the merit launcher', () => {
  const merit = (...args: string[]) => ended(launch(join(BIN, 'merit.mjs'), args));
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };

  test('prints help and version itself; C01: without arguments help is on stderr, with 2', async () => {
    const help = await merit('--help');
    expect(help).toMatchObject({ code: 0, err: '' });
    expect(help.out).toContain('Usage: merit');
    expect(await merit()).toMatchObject({ code: 2, out: '', err: help.out });
    expect(await merit('--version')).toMatchObject({ code: 0, out: `${version}\n`, err: '' });
  });

  test('runs the command under Node 24, that Node first on PATH, with the source condition, and keeps its exit code', async () => {
    const result = await ended(
      command(
        "console.log(JSON.stringify([process.version, process.env.PATH.split(':')[0], process.execArgv])); process.exit(42);",
      ),
    );
    expect(result.code).toBe(42);
    const [nodeVersion, first, execArgv] = JSON.parse(result.out) as [string, string, string[]];
    expect(nodeVersion).toMatch(/^v(2[4-9]|[3-9]\d)\./);
    expect(existsSync(join(first, 'node'))).toBe(true);
    expect(execArgv).toContain('--conditions=merit-source');
  });

  test.each(['SIGTERM', 'SIGINT'] as const)(
    'forwards %s where there is no terminal, and ends by it as the command did',
    async (signal) => {
      const child = command(WAITS);
      const pid = Number(await saying(child));
      child.kill(signal);
      expect((await ended(child)).signal).toBe(signal);
      expect(await gone(pid)).toBe(true);
    },
  );

  test('lets the command answer a signal in its own way', async () => {
    const child = command(
      "process.on('SIGTERM', () => process.exit(7)); console.log(process.pid); setInterval(() => {}, 1000);",
    );
    await saying(child);
    child.kill('SIGTERM');
    expect(await ended(child)).toMatchObject({ code: 7, signal: null });
  });

  test('never leaves the command behind, even when it is killed itself', async () => {
    const child = command(WAITS);
    const pid = Number(await saying(child));
    child.kill('SIGKILL');
    expect(await gone(pid)).toBe(true);
  });

  test('without the npm packages says how to get them, with 78', async () => {
    const bare = join(folder, 'bare');
    mkdirSync(bare, { recursive: true });
    cpSync(BIN, join(bare, 'bin'), { recursive: true });
    cpSync(join(ROOT, 'package.json'), join(bare, 'package.json'));
    const { code, out, err } = await ended(launch(join(bare, 'bin', 'merit.mjs'), ['ps']));
    expect([code, out]).toEqual([78, '']);
    expect(err).toContain('npm ci');
    expect((await ended(launch(join(bare, 'bin', 'merit.mjs'), ['--help']))).code).toBe(0);
  });

  test('on a Node older than 20 says which one it needs', async () => {
    const path: string = new URL('../../bin/old-node.mjs', import.meta.url).href;
    const script = `import { tooOld } from ${JSON.stringify(path)}; console.log(tooOld('18.19.0'));`;
    const { code, out, err } = await ended(launch('--input-type=module', ['--eval', script]));
    expect([code, out]).toEqual([78, 'true\n']);
    expect(err).toContain('Node 20');
  });
});

describe('installing', () => {
  const installer = (script: string, env: NodeJS.ProcessEnv = process.env) =>
    ended(launch('--input-type=module', ['--eval', script], env));
  const from = (name: string) => JSON.stringify(new URL(`../../bin/${name}`, import.meta.url).href);

  test('is done by one at a time; an owner that was killed blocks nobody', async () => {
    const lock = join(folder, 'a.lock');
    const log = join(folder, 'log');
    const work = (
      id: string,
      ms: number,
    ) => `import { appendFileSync } from 'node:fs'; import { withLock } from ${from('lock.mjs')};
      await withLock(${JSON.stringify(lock)}, () => {}, async () => {
        appendFileSync(${JSON.stringify(log)}, '${id} in\\n'); console.log('in');
        await new Promise((r) => setTimeout(r, ${ms}));
        appendFileSync(${JSON.stringify(log)}, '${id} out\\n');
      });`;
    const dead = launch('--input-type=module', ['--eval', work('dead', 60_000)]);
    await saying(dead);
    dead.kill('SIGKILL');
    await once(dead, 'close');
    const all = await Promise.all(['a', 'b', 'c', 'd'].map((id) => installer(work(id, 50))));
    expect(all.map((result) => result.code)).toEqual([0, 0, 0, 0]);
    const lines = readFileSync(log, 'utf8').trim().split('\n').slice(1);
    for (let i = 0; i < lines.length; i += 2) expect(lines[i + 1]).toBe(lines[i]!.replace('in', 'out'));
    expect(lines).toHaveLength(8);
    expect(readdirSync(lock)).toHaveLength(1);
  });

  test('of packages is skipped where node_modules fits the lock file, and a lock file that is missing is named', async () => {
    const script = (root: string) => `import { ensurePackages } from ${from('install-packages.mjs')};
      try { await ensurePackages(${JSON.stringify(root)}, (line) => console.log(line)); } catch (error) { console.log(error.message); }`;
    expect((await installer(script(ROOT))).out).toBe('');
    expect((await installer(script(join(folder, 'bare')))).out).toContain('package-lock.json is missing');
  });

  test('of packages that fails tells npm’s own reason and the mend', async () => {
    const broken = join(folder, 'broken');
    mkdirSync(broken);
    writeFileSync(join(broken, 'package.json'), '{"name":"x","version":"1.0.0","dependencies":{"pg":"8.0.0"}}');
    writeFileSync(
      join(broken, 'package-lock.json'),
      '{"name":"x","version":"1.0.0","lockfileVersion":3,"packages":{"":{"name":"x","version":"1.0.0"}}}',
    );
    const { out } = await installer(`import { ensurePackages } from ${from('install-packages.mjs')};
      try { await ensurePackages(${JSON.stringify(broken)}, () => {}); } catch (error) { console.log(error.message, '|', error.mend); }`);
    expect(out).toMatch(/npm ci.*in sync.*\|.*npm ci/s);
  });

  test('without Python is no error: the reason and the mend are given, and the local provider is left', async () => {
    const { out } = await installer(
      `import { ensurePython } from ${from('install-python.mjs')}; console.log(JSON.stringify(await ensurePython(${JSON.stringify(ROOT)}, () => {})));`,
      { PATH: join(folder, 'no-such-folder'), HOME: folder },
    );
    expect(JSON.parse(out)).toEqual({
      state: 'absent',
      reason: expect.stringContaining('Python'),
      mend: expect.stringContaining('install'),
    });
  });

  test('of Python into a cache that cannot be written is no error either', async () => {
    writeFileSync(join(folder, 'a-file'), '');
    const { MERIT_PYTHON: _, ...env } = process.env;
    const { out } = await installer(
      `import { ensurePython } from ${from('install-python.mjs')}; console.log(JSON.stringify(await ensurePython(${JSON.stringify(ROOT)}, () => {})));`,
      { ...env, XDG_CACHE_HOME: join(folder, 'a-file') },
    );
    expect(JSON.parse(out)).toMatchObject({ state: 'absent', mend: expect.any(String) });
  });
});
