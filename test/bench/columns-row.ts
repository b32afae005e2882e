import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { makeCorpus } from './corpus.ts';
import { each, median, type Row, ratioOf, row, takeTurns } from './harness.ts';
import { jsonColumnsRow } from './json-columns.ts';
import { ParsedColumns } from './parsed-columns.ts';

/** Bytes → checked columns: simd-json-wasm, JSON.parse with checks by hand, and C++ with simdjson's on-demand parser. */

const REPORTS = 50_000;
const CPP_FLOOR = 1;
const CPP_AIM = 1.3;
const COMMAND = 'npm run bench -- columns';
const SOURCE = fileURLToPath(new URL('./peers/columns.cpp', import.meta.url));
const CACHE = fileURLToPath(new URL('../../.cache/bench/', import.meta.url));

export async function columnsRows(): Promise<readonly Row[]> {
  const { batches, bytes, lines } = makeCorpus({ reports: REPORTS });
  const ours = jsonColumnsRow(batches);
  const built = buildPeer();
  const peer = 'binary' in built ? await startPeer(built.binary, batches) : undefined;
  try {
    const times = await takeTurns([
      { name: 'ours', pass: () => void ours.native() },
      { name: 'parse', pass: () => void ours.parsed() },
      ...(peer === undefined ? [] : [{ name: 'cpp', pass: async () => (await peer.pass()).cpuNs / 1e9 }]),
    ]);
    const figures = (name: string) => {
      const seconds = median(times.get(name)!);
      return `${Math.round(bytes / seconds / 1e6)} MB/s, ${each(seconds, lines)} a report`;
    };
    return [
      row({
        what: 'bytes → columns against JSON.parse + checks',
        value: ratioOf(times, 'ours', 'parse'),
        floor: ours.floor,
        aim: ours.aim,
        detail: `ours ${figures('ours')}; JSON.parse + checks ${figures('parse')}`,
        limit: 'the walk over each member: validation, number decoding and interning, not memory',
        command: COMMAND,
      }),
      row({
        what: 'bytes → columns against C++ simdjson on-demand',
        value: peer === undefined ? null : ratioOf(times, 'ours', 'cpp'),
        floor: CPP_FLOOR,
        aim: CPP_AIM,
        detail:
          'skipped' in built
            ? `skipped: ${built.skipped}`
            : `ours ${figures('ours')}; simdjson ${built.version}, g++ -O3 -march=native ${figures('cpp')}`,
        limit: 'WebAssembly has 128-bit SIMD, the peer 256',
        command: COMMAND,
      }),
    ];
  } finally {
    peer?.stop();
  }
}

interface Pass {
  readonly cpuNs: number;
  readonly rows: number;
  readonly refused: number;
  readonly entries: number;
  readonly time: number;
  readonly weight: number;
  readonly bits: string;
}

/** The binary, compiled once a source; or why there is none, and what mends it. */
function buildPeer(): { readonly binary: string; readonly version: string } | { readonly skipped: string } {
  const mend = 'apt-get install -y g++ libsimdjson-dev';
  let version: string;
  try {
    const macro = execFileSync('g++', ['-E', '-x', 'c++', '-'], {
      input: '#include <simdjson.h>\nMERIT_VERSION SIMDJSON_VERSION\n',
      encoding: 'utf8',
      stdio: ['pipe', 'pipe', 'ignore'],
      maxBuffer: 64 * 1024 * 1024,
    });
    version = /MERIT_VERSION\s+(?:#.*\s+)*"?([0-9.]+)/.exec(macro)?.[1] ?? 'of unknown version';
  } catch {
    return { skipped: `no g++ with simdjson.h here; ${mend}` };
  }
  mkdirSync(CACHE, { recursive: true });
  const binary = join(CACHE, 'columns');
  if (!existsSync(binary) || statSync(binary).mtimeMs < statSync(SOURCE).mtimeMs) {
    execFileSync('g++', ['-O3', '-march=native', '-std=c++17', '-DNDEBUG', '-o', binary, SOURCE, '-lsimdjson']);
  }
  return { binary, version };
}

/** The peer with the corpus in its memory; throws where it does not come to our columns. */
async function startPeer(binary: string, batches: readonly Buffer[]): Promise<{ pass(): Promise<Pass>; stop(): void }> {
  const folder = mkdtempSync(join(tmpdir(), 'merit-bench-'));
  const corpus = join(folder, 'corpus.ndjson');
  writeFileSync(corpus, Buffer.concat(batches));
  const child: ChildProcessByStdio<Writable, Readable, null> = spawn(binary, [corpus], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const pass = async () => {
    child.stdin.write('pass\n');
    const line = await lines.next();
    if (line.done === true) throw new Error('the C++ peer ended');
    return JSON.parse(line.value) as Pass;
  };
  const stop = () => child.kill();
  try {
    const { cpuNs: _, ...got } = await pass();
    const wanted = summaryOf(batches);
    for (const [name, value] of Object.entries(wanted)) {
      if (got[name as keyof typeof got] !== value)
        throw new Error(`the C++ peer's ${name} differ: ${got[name as keyof typeof got]}, not ${value}`);
    }
    return { pass, stop };
  } catch (error) {
    stop();
    throw error;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Of the columns by JSON.parse, which json-columns.ts holds against ours value by value. */
function summaryOf(batches: readonly Buffer[]): Omit<Pass, 'cpuNs'> {
  const parsed = new ParsedColumns();
  let [rows, refused, entries, time, weight, bits] = [0, 0, 0, 0, 0, 0n];
  for (const batch of batches) {
    parsed.read(batch);
    rows += parsed.rows;
    refused += parsed.refused;
    entries += parsed.entries;
    for (let i = 0; i < parsed.rows; i++) {
      time += parsed.times[i]! - 1.7e12;
      weight += parsed.sizes[i]!;
    }
    for (const word of new BigUint64Array(parsed.values.buffer, 0, parsed.entries)) bits ^= word;
  }
  return { rows, refused, entries, time, weight, bits: String(bits) };
}
