import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { lastLines, runChild, usualCause } from '../../../bin/child.mjs';
import { cachedFolder, keepInCache } from './cache.ts';
import { findCommand } from './debian.ts';
import { provideGo } from './go-sdk.ts';
import type { Say } from './part.ts';

/** A command of a published Go module, built as it is. */
export interface GoCommand {
  /** Of the part; the binary is called so too. */
  readonly name: string;
  readonly module: string;
  readonly version: string;
  /** The main package: `module/cmd/thing`. */
  readonly main: string;
  /** The least Go that builds it, as `1.24`. */
  readonly go: string;
  /** CPU-seconds of the build where nothing is cached, for the message. */
  readonly cpuSeconds: number;
  /** Modules whose version in its go.mod is a placeholder, and the version they have. */
  readonly replace?: { readonly modules: readonly string[]; readonly version: string };
  readonly ldflags?: string;
  /** Folders of the module whose files are kept beside the binary, by their paths in it. */
  readonly folders?: readonly string[];
}

const PROGRESS_MS = 1_000;

/** Where the binary is, or will be. */
export function goBinary(command: GoCommand): string {
  return join(folderOf(command), command.name);
}

/** Where one of its `folders` is, or will be. */
export function goFolder(command: GoCommand, path: string): string {
  return join(folderOf(command), path);
}

function folderOf(command: GoCommand): string {
  const kept = command.folders?.map((path) => `${path}\n`).join('') ?? '';
  const recipe = `${goMod(command)}${command.main}\n${ldflags(command)}\n${kept}`;
  return cachedFolder(`${command.name}-${command.version}`, recipe);
}

/** Why it cannot be started, with the command that provides it; undefined where it is built. */
export function goCommandMissing(command: GoCommand): string | undefined {
  if (existsSync(goBinary(command))) return undefined;
  return `${command.name} ${command.version} is not built: "npm run test:parts" builds it`;
}

/** Builds it into the cache, with less priority than what else runs. Throws with a reason that a person can mend; throws Interrupted. */
export async function provideGoCommand(command: GoCommand, say: Say): Promise<void> {
  await keepInCache(folderOf(command), say, async (place) => {
    const go = await provideGo(command.go, say);
    const minutes = Math.ceil(command.cpuSeconds / Math.min(4, availableParallelism()) / 60);
    say(`Building ${command.name} ${command.version} (once for all clones; about ${minutes} min) …`);
    await build(go, command, place, say);
  });
}

async function build(go: string, command: GoCommand, place: string, say: Say): Promise<void> {
  const source = join(place, 'source');
  const temporary = join(place, 'tmp');
  mkdirSync(source);
  mkdirSync(temporary);
  writeFileSync(join(source, 'go.mod'), goMod(command));
  const built = join(place, `${command.name}.new`);
  const flags = ['-v', '-mod=mod', '-trimpath', '-buildvcs=false', `-ldflags=${ldflags(command)}`];
  const startedAt = performance.now();
  let packages = 0;
  const count = (output: string) => {
    packages += output.split('\n').filter((line) => line !== '' && !line.startsWith('go: ')).length;
  };
  const timer = setInterval(() => {
    const seconds = Math.round((performance.now() - startedAt) / 1000);
    say(`  ${command.name}: ${packages} packages compiled, ${seconds} s`, true);
  }, PROGRESS_MS);
  try {
    const [first = '', ...rest] = [...gently(), go, 'build', ...flags, '-o', built, command.main];
    const { code, tail } = await runChild(first, rest, {
      cwd: source,
      env: { ...process.env, CGO_ENABLED: '0', GOWORK: 'off', GOFLAGS: '', GOTMPDIR: temporary },
      hear: count,
    });
    if (code !== 0) {
      const usual = usualCause(tail);
      throw new Error(
        usual === undefined
          ? `could not build ${command.name}:\n${lastLines(tail)}`
          : `could not build ${command.name}: ${usual[0]}; ${usual[1]}`,
      );
    }
    await keepFolders(go, command, source, place);
  } finally {
    clearInterval(timer);
  }
  for (const folder of [source, temporary]) rmSync(folder, { recursive: true, force: true });
  renameSync(built, join(place, command.name));
  say(`Built ${command.name} in ${Math.round((performance.now() - startedAt) / 1000)} s`);
}

async function keepFolders(
  go: string,
  { module, folders = [] }: GoCommand,
  source: string,
  place: string,
): Promise<void> {
  if (folders.length === 0) return;
  const args = ['list', '-mod=mod', '-m', '-f', '{{.Dir}}', module];
  const { code, tail } = await runChild(go, args, { cwd: source, env: { ...process.env, GOWORK: 'off', GOFLAGS: '' } });
  if (code !== 0) throw new Error(`could not find where ${module} lies:\n${lastLines(tail)}`);
  const root = tail.trim().split('\n').at(-1) ?? '';
  for (const path of folders) {
    mkdirSync(join(place, path), { recursive: true });
    // Without their modes: Go's own copy may not be written to, nor be removed.
    for (const name of readdirSync(join(root, path)))
      writeFileSync(join(place, path, name), readFileSync(join(root, path, name)));
  }
}

/** Builds yield to whatever else runs, and end with us however we end (util-linux's setpriv: PR_SET_PDEATHSIG). */
function gently(): readonly string[] {
  const setpriv = findCommand('setpriv');
  const nice = findCommand('nice');
  return [
    ...(nice === undefined ? [] : [nice, '-n', '10']),
    ...(setpriv === undefined || process.platform !== 'linux' ? [] : [setpriv, '--pdeathsig', 'TERM']),
  ];
}

function ldflags(command: GoCommand): string {
  return `-s -w${command.ldflags === undefined ? '' : ` ${command.ldflags}`}`;
}

/** Our module, which has no code: it names the module whose command is built. */
function goMod({ module, version, go, replace }: GoCommand): string {
  const lines = replace?.modules.map((name) => `replace ${name} => ${name} ${replace.version}\n`) ?? [];
  return `module merit.invalid/parts\n\ngo ${go}\n\nrequire ${module} ${version}\n\n${lines.join('')}`;
}
