import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BUILT_IN_KINDS } from '../../../providers/registry.ts';
import { CliError, EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { showOne } from '../render.ts';
import type { Format } from '../values.ts';

const SCAFFOLD = fileURLToPath(new URL('../../../providers/scaffold', import.meta.url));
/** What the scaffold itself is called. */
const ITS_NAME = 'batch-service';

/** `merit providers new`: the scaffold under a name of its own, whole or not at all. Nothing that is there is changed. */
export default async function providersNew({ args, options, io }: Invocation): Promise<number> {
  const name = args[0] ?? '';
  if (BUILT_IN_KINDS.includes(name))
    throw new CliError(EXIT.badValue, 'bad_value', `<name>: the kind ${name} ships with Merit`, {
      mend: 'choose another',
    });
  const folder = resolve(io.cwd, name);
  const files = await writeScaffold(folder, name);
  const made = { kind: name, package: `merit-provider-${name}`, folder, files };
  const text = files.map((path) => `${name}/${path}\n`).join('');
  await showOne(io, options.output as Format, { name: () => name, columns: [] }, made, text);
  io.note(`next: merit providers test ./${name}, then read ${name}/README.md`);
  return EXIT.ok;
}

async function writeScaffold(folder: string, name: string): Promise<readonly string[]> {
  const half = await mkdtemp(join(dirname(folder), `.${name}-`));
  try {
    const entries = await readdir(SCAFFOLD, { recursive: true, withFileTypes: true });
    const paths = entries
      .filter((entry) => entry.isFile())
      .map((entry) => relative(SCAFFOLD, join(entry.parentPath, entry.name)));
    for (const path of paths) {
      const text = await readFile(join(SCAFFOLD, path), 'utf8');
      await mkdir(dirname(join(half, path)), { recursive: true });
      await writeFile(join(half, path), text.replaceAll(ITS_NAME, name));
    }
    // mkdtemp's own is for its maker only.
    await chmod(half, 0o755);
    // Takes an empty folder's place, and no other's.
    await rename(half, folder);
    return paths.sort();
  } catch (cause) {
    await rm(half, { recursive: true, force: true });
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST' && code !== 'ENOTDIR') throw cause;
    throw new CliError(EXIT.conflict, 'conflict', `${JSON.stringify(folder)} is there already`, {
      mend: 'choose another name, or move it away',
      cause,
    });
  }
}
