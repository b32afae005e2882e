import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = fileURLToPath(new URL('.', import.meta.url));
/** Ignored by git: what benchmarks build and install. */
export const BENCH_CACHE = fileURLToPath(new URL('../../../.cache/bench/', import.meta.url));
const INSTALL_LIMIT_MS = 300_000;

/** A package of peers/package.json, installed on first use; a text where it could not be, with what mends it. */
export async function peerModule<Module>(name: string): Promise<Module | string> {
  const folder = join(BENCH_CACHE, 'peers');
  const lock = join(HERE, 'package-lock.json');
  const installed = join(folder, 'package-lock.json');
  if (!existsSync(join(folder, 'node_modules')) || readFileSync(lock, 'utf8') !== readFileSync(installed, 'utf8')) {
    mkdirSync(folder, { recursive: true });
    copyFileSync(join(HERE, 'package.json'), join(folder, 'package.json'));
    copyFileSync(lock, installed);
    try {
      execFileSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: folder, stdio: 'pipe', timeout: INSTALL_LIMIT_MS });
    } catch {
      return `${name} could not be installed: run "npm ci" in ${folder}`;
    }
  }
  return (await import(createRequire(join(folder, 'package.json')).resolve(name))) as Module;
}
