// `npm run build:wasm`: compiles the AssemblyScript of this folder. The .wasm files are committed, since the server has no build step;
// a test builds them again and compares bytes. Plain JavaScript, so that any Node from 20 on runs it.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = dirname(fileURLToPath(import.meta.url));

/** Paths from this folder. */
export const ENTRIES = [
  { source: 'simd-json-wasm/assembly/index.ts', wasm: 'simd-json-wasm/src/columns.wasm' },
  { source: 'assembly/index.ts', wasm: 'kernel.wasm' },
];

/**
 * No runtime to speak of: the modules manage raw memory, which the host gives them, so that the host sets its maximum. 65536
 * pages are all that 32-bit addresses reach; the memory that is given may be smaller.
 */
const OPTIONS = [
  ...['-O3', '--noAssert', '--enable', 'simd', '--runtime', 'stub'],
  ...['--importMemory', '--noExportMemory', '--maximumMemory', '65536', '--use', 'abort='],
];

/** The bytes of the module; throws with the compiler's own words. */
export async function compile(source, extra = []) {
  // Loaded here: the compiler takes a second to load, and has no part in what only asks for ENTRIES.
  const { default: asc } = await import('assemblyscript/asc');
  const output = new Map();
  const { error, stderr } = await asc.main([source, ...OPTIONS, '--outFile', 'out.wasm', ...extra], {
    readFile: (name, baseDir) => readIfThere(join(HERE, baseDir, name)),
    writeFile: (name, contents) => output.set(name, contents),
    listFiles: (folder, baseDir) => filesIn(join(HERE, baseDir, folder)),
  });
  if (error !== null) throw new Error(`${source}: ${error.message}\n${stderr.toString()}`);
  const warnings = stderr.toString();
  if (warnings !== '') process.stderr.write(warnings);
  return output.get('out.wasm');
}

function readIfThere(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : null;
}

function filesIn(folder) {
  return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.ts')) : [];
}

async function main() {
  for (const { source, wasm } of ENTRIES) {
    if (!existsSync(join(HERE, source))) continue;
    const bytes = await compile(source);
    writeFileSync(join(HERE, wasm), bytes);
    console.log(`${relative(process.cwd(), join(HERE, wasm))}: ${bytes.length} bytes`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
