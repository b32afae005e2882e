import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isWhole } from './rotating.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const KILL_AFTER_MS = 20_000;

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  /** Resolves with all stdout once `text` is in it; throws with what was said where the process ended before. */
  until(text: string, limitMs: number): Promise<string>;
  /** What Ctrl-C on a terminal does: SIGINT to the whole process group. */
  interrupt(): Promise<Ran>;
  readonly ended: Promise<Ran>;
}

/**
 * A copy of what the repository holds, in an empty home folder: no packages, no state. Only what package managers had downloaded before is reused, and, but
 * for MERIT_PROOFS=whole, the Python environment of this machine.
 */
export interface CleanClone {
  readonly dir: string;
  start(command: string, args: readonly string[], env?: Readonly<Record<string, string>>): Running;
  run(command: string, args: readonly string[], env?: Readonly<Record<string, string>>): Promise<Ran>;
  remove(): void;
}

export function cleanClone(): CleanClone {
  const home = mkdtempSync(join(tmpdir(), 'merit-clone-'));
  const dir = join(home, 'merit');
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  for (const file of listed.split('\0')) {
    if (file === '' || !existsSync(join(ROOT, file))) continue;
    mkdirSync(dirname(join(dir, file)), { recursive: true });
    copyFileSync(join(ROOT, file), join(dir, file));
  }
  const base: NodeJS.ProcessEnv = {
    ...process.env,
    HOME: home,
    npm_config_cache: process.env.npm_config_cache ?? join(homedir(), '.npm'),
    PIP_CACHE_DIR: process.env.PIP_CACHE_DIR ?? join(homedir(), '.cache', 'pip'),
  };
  // The clone finds its own Node, Python, state and Ray; nothing of this run's.
  for (const name of Object.keys(base))
    if (
      /^(MERIT_|VITEST|NODE_OPTIONS|NODE_PATH|NODE_ENV|XDG_|npm_(?!config_(cache|registry|cafile|userconfig|globalconfig|nodedir)))/i.test(
        name,
      )
    )
      delete base[name];
  if (!isWhole) base.XDG_CACHE_HOME = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  base.PATH = (base.PATH ?? '')
    .split(':')
    .filter((folder) => !folder.startsWith(ROOT))
    .join(':');
  const start = (command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Running => {
    const child = spawn(command, args, {
      cwd: dir,
      env: { ...base, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    let stdout = '';
    let stderr = '';
    let wake = () => {};
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString('utf8');
      wake();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString('utf8');
    });
    const ended = new Promise<Ran>((resolve) => {
      child.on('close', (code) => {
        resolve({ code, stdout, stderr });
        wake();
      });
    });
    return {
      ended,
      until: async (text, limitMs) => {
        const deadline = performance.now() + limitMs;
        while (!stdout.includes(text)) {
          if (child.exitCode !== null || performance.now() > deadline)
            throw new Error(`"${text}" was never said; exit ${child.exitCode}\n${stdout}\n${stderr}`);
          await new Promise<void>((resolve) => {
            const timer = setTimeout(resolve, 1_000);
            wake = () => {
              clearTimeout(timer);
              resolve();
            };
          });
        }
        return stdout;
      },
      interrupt: async () => {
        const { pid } = child;
        if (pid !== undefined && child.exitCode === null) process.kill(-pid, 'SIGINT');
        const timer = setTimeout(() => pid !== undefined && process.kill(-pid, 'SIGKILL'), KILL_AFTER_MS);
        const ran = await ended;
        clearTimeout(timer);
        return ran;
      },
    };
  };
  return {
    dir,
    start,
    run: (command, args, env) => start(command, args, env).ended,
    remove: () => rmSync(home, { recursive: true, force: true }),
  };
}
