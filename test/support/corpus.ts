import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { parse } from 'yaml';
import { pythonVenv } from './python.ts';

const EXAMPLE = resolve(import.meta.dirname, '../../examples/corpus');
const PYTHON_PACKAGES = resolve(import.meta.dirname, '../../infra/python');

export interface Corpus {
  /** Holds suite.json, reports.ndjson and corpus.json. */
  readonly folder: string;
  readonly suitePath: string;
  readonly reportsPath: string;
  /** RFC 3339. */
  readonly at: string;
  readonly models: number;
  readonly examples: number;
  readonly reports: number;
}

/** `cut`: 12 models × 200 examples, in seconds; `whole`: 58 × 808, about 20 s of one core. Measured once for each version of what measures it. */
export function corpus(size: 'cut' | 'whole'): Corpus {
  const hash = createHash('sha256');
  for (const path of [
    join(EXAMPLE, 'make-corpus.py'),
    join(EXAMPLE, 'suite.yaml'),
    join(PYTHON_PACKAGES, 'requirements.txt'),
    join(PYTHON_PACKAGES, 'constraints.txt'),
  ])
    hash.update(readFileSync(path));
  const folder = join(cacheFolder(), `corpus-${size}-${hash.digest('hex').slice(0, 16)}`);
  if (!existsSync(folder)) measure(folder, size === 'cut' ? ['--quick', '--examples', '200'] : []);
  const { at, models, examples, reports } = JSON.parse(readFileSync(join(folder, 'corpus.json'), 'utf8')) as Corpus;
  const [suitePath, reportsPath] = [join(folder, 'suite.json'), join(folder, 'reports.ndjson')];
  return { folder, suitePath, reportsPath, at, models, examples, reports };
}

function cacheFolder(): string {
  const base = process.env.XDG_CACHE_HOME ?? '';
  return join(base.startsWith('/') ? base : join(homedir(), '.cache'), 'merit');
}

/** Under its name only when it is complete. */
function measure(folder: string, options: readonly string[]): void {
  mkdirSync(cacheFolder(), { recursive: true });
  const place = mkdtempSync(`${folder}.making-`);
  try {
    execFileSync(join(pythonVenv(), 'bin', 'python'), [join(EXAMPLE, 'make-corpus.py'), place, ...options], {
      env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const suite: unknown = parse(readFileSync(join(EXAMPLE, 'suite.yaml'), 'utf8'));
    writeFileSync(join(place, 'suite.json'), JSON.stringify(suite));
    renameSync(place, folder);
  } catch (error) {
    // Another run was faster.
    if (!existsSync(folder)) throw error;
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
