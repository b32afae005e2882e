import { spawn } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Mutant } from './mutants.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** What the engine and its simulator are made of. */
const ROOMS = [
  'core',
  'platform',
  'ledger',
  'pools',
  'providers',
  'peers',
  'artifacts',
  'scheduler',
  'test/sim',
  'test/bench/random.ts',
  'package.json',
];

export interface Judged {
  readonly name: string;
  /** The seed and the rule by which it was found; undefined: it was not. */
  readonly by: { readonly seed: number; readonly broken: string } | undefined;
  readonly seeds: number;
  readonly seconds: number;
}

/** Runs seeds on a copy of the sources with the mutant in it, until one fails. Throws where its text is not there just once. */
export async function judge({ name, file, find, put }: Mutant, seeds: number, from = 0): Promise<Judged> {
  const folder = await mkdtemp(join(tmpdir(), 'merit-mutant-'));
  try {
    for (const room of ROOMS) await cp(join(ROOT, room), join(folder, room), { recursive: true });
    await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    const path = join(folder, file);
    const text = await readFile(path, 'utf8');
    if (text.split(find).length !== 2) throw new Error(`mutant "${name}": its text is not once in ${file}`);
    await writeFile(
      path,
      text.replace(find, () => put),
    );
    const report = await runSeeds(folder, seeds, from);
    const [found] = report.failed;
    return { name, by: found, seeds: report.ran, seconds: report.seconds };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface Report {
  readonly ran: number;
  readonly seconds: number;
  readonly failed: readonly { readonly seed: number; readonly broken: string }[];
}

function runSeeds(folder: string, seeds: number, from: number): Promise<Report> {
  const args = ['--conditions=merit-source', join(folder, 'test/sim/run.ts'), '--first', '--json'];
  const child = spawn(process.execPath, [...args, '--seeds', String(seeds), '--from', String(from)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [said, complaints]: string[][] = [[], []];
  child.stdout.on('data', (chunk: Buffer) => said!.push(String(chunk)));
  child.stderr.on('data', (chunk: Buffer) => complaints!.push(String(chunk)));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', () => {
      try {
        resolve(JSON.parse(said!.join('')) as Report);
      } catch {
        reject(new Error(`the simulator did not report: ${complaints!.join('').slice(-2000)}`));
      }
    });
  });
}
