import { mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { assert } from '../core/assert.ts';
import type { Json } from '../core/canonical.ts';
import { parseJsonObject } from '../core/json.ts';
import { OperatingError } from '../core/operating-error.ts';
import { type Refusal, RefusedInput, refuse } from '../core/refusal.ts';
import { systemClock } from '../platform/clock.ts';
import { loadTls } from '../platform/mtls.ts';
import { claimServer, replaceFileSync } from '../platform/processes.ts';
import { type Budgets, budgetsRefusals, UNLIMITED } from './finance/book.ts';
import { startFinanceSimulator } from './finance/simulator.ts';
import { ALLOW_ALL, type PolicyRules, rulesRefusals } from './sentinelnet/rules.ts';
import { startSentinelSimulator } from './sentinelnet/simulator.ts';
import type { SimulatorTls } from './simulator-server.ts';

/**
 * Both simulators as one process: `node peers/simulators.ts --state DIR [--tls DIR --caller SPIFFE-ID]`. DIR/simulators.json says
 * where they listen. It ends when its stdin ends (so the starter gives it a pipe), when its parent is gone, and on SIGTERM or SIGINT.
 *
 * DIR/simulators/ holds `policy-rules.json` and `budgets.json` (written with what allows everything where they are missing;
 * read again whenever they change) and Finance's book. --tls names a folder of PEM files: ca.crt, sentinelnet.crt, sentinelnet.key,
 * finance.crt, finance.key; --caller the one client that may call.
 */

export const SIMULATORS_FILE = 'simulators.json';

/** What DIR/simulators.json holds. */
export interface SimulatorsRecord {
  readonly pid: number;
  readonly sentinelnet: { readonly url: string };
  readonly finance: { readonly url: string };
}

/** A predecessor whose parent was killed ends within two polls of it. */
const TAKE_OVER_LIMIT_MS = 10_000;
const TAKE_OVER_POLL_MS = 100;
const PARENT_POLL_MS = 500;
const MAX_SETTINGS_BYTES = 1024 * 1024;

export interface Simulators {
  readonly record: SimulatorsRecord;
  close(): Promise<void>;
}

export interface SimulatorsOptions {
  readonly stateDir: string;
  readonly tls?: { readonly dir: string; readonly caller: string } | undefined;
}

/** Starts both. Throws OperatingError `conflict` where others serve this folder, RefusedInput where a settings file is wrong. */
export async function startSimulators(options: SimulatorsOptions): Promise<Simulators> {
  const folder = join(options.stateDir, 'simulators');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const claim = await claimWhenFree(folder);
  const started: { close(): Promise<void> }[] = [];
  const recordFile = join(options.stateDir, SIMULATORS_FILE);
  const close = async () => {
    rmSync(recordFile, { force: true });
    for (const one of started.toReversed()) await one.close();
    claim.release();
  };
  try {
    // What a dead predecessor wrote would send callers to a port that may be another's by now.
    rmSync(recordFile, { force: true });
    const rules = settings(join(folder, 'policy-rules.json'), ALLOW_ALL, rulesRefusals);
    const sentinel = await startSentinelSimulator({
      rules: rules() ?? ALLOW_ALL,
      reload: rules,
      tls: await tlsOf(options.tls, 'sentinelnet'),
    });
    started.push(sentinel);
    const budgets = settings(join(folder, 'budgets.json'), UNLIMITED, budgetsRefusals);
    const finance = await startFinanceSimulator({
      journalPath: join(folder, 'finance.ndjson'),
      budgets: budgets() ?? UNLIMITED,
      reload: budgets,
      tls: await tlsOf(options.tls, 'finance'),
    });
    started.push(finance);
    const record = { pid: process.pid, sentinelnet: { url: sentinel.url }, finance: { url: finance.url } };
    replaceFileSync(recordFile, JSON.stringify(record));
    return { record, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function claimWhenFree(folder: string): Promise<{ release(): void }> {
  const deadline = performance.now() + TAKE_OVER_LIMIT_MS;
  for (;;) {
    try {
      return claimServer(folder);
    } catch (error) {
      const taken = error instanceof OperatingError && error.code === 'conflict';
      if (!taken || performance.now() > deadline) throw error;
      await systemClock.sleep(TAKE_OVER_POLL_MS);
    }
  }
}

async function tlsOf(tls: SimulatorsOptions['tls'], service: string): Promise<SimulatorTls | undefined> {
  if (tls === undefined) return undefined;
  const file = (name: string) => join(tls.dir, name);
  const material = await loadTls(
    { certFile: file(`${service}.crt`), keyFile: file(`${service}.key`), caFile: file('ca.crt') },
    systemClock.now(),
  );
  return { material, callers: [tls.caller] };
}

/**
 * A settings file, written with `preset` where it is missing. Each call returns what it holds if it changed since the last
 * call, and throws while it is wrong.
 */
function settings<T extends PolicyRules | Budgets>(
  path: string,
  preset: T,
  check: (value: unknown) => readonly Refusal[],
): () => T | undefined {
  let seen: string | undefined;
  return () => {
    const facts = statSync(path, { throwIfNoEntry: false });
    if (facts === undefined && seen === undefined) {
      replaceFileSync(path, `${JSON.stringify(preset, null, 2)}\n`);
      return undefined;
    }
    if (facts === undefined) throw new RefusedInput([refuse('missing', path, 'is gone', 'bring it back')]);
    const version = `${facts.ino}-${facts.size}-${facts.mtimeMs}-${facts.ctimeMs}`;
    if (version === seen) return undefined;
    const value = readSettings(path, facts.size);
    const refusals = check(value);
    if (refusals.length > 0)
      throw new RefusedInput(refusals.map((refusal) => ({ ...refusal, field: `${path}: ${refusal.field}` })));
    seen = version;
    return value as unknown as T;
  };
}

function readSettings(path: string, size: number): { readonly [key: string]: Json } {
  if (size > MAX_SETTINGS_BYTES)
    throw new RefusedInput([refuse('length', path, `is over ${MAX_SETTINGS_BYTES} bytes`, 'shorten it')]);
  const reading = parseJsonObject(readFileSync(path));
  if (!reading.ok) throw new RefusedInput([refuse(reading.code, path, reading.reason, 'write JSON')]);
  return reading.value;
}

/** Exit codes as the CLI's: 2 usage, 5 another one runs, 78 bad settings. */
function exitCodeOf(error: unknown): number {
  if (error instanceof RefusedInput) return 78;
  if (error instanceof OperatingError) return error.code === 'conflict' ? 5 : 1;
  return 1;
}

function optionsOf(argv: readonly string[]): SimulatorsOptions | undefined {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: { state: { type: 'string' }, tls: { type: 'string' }, caller: { type: 'string' } },
      strict: true,
    });
    if (values.state === undefined || (values.tls === undefined) !== (values.caller === undefined)) return undefined;
    const tls = values.tls === undefined ? undefined : { dir: values.tls, caller: values.caller as string };
    return { stateDir: values.state, tls };
  } catch {
    return undefined;
  }
}

async function main(): Promise<void> {
  const options = optionsOf(process.argv.slice(2));
  if (options === undefined) {
    process.stderr.write('usage: node peers/simulators.ts --state DIR [--tls DIR --caller SPIFFE-ID]\n');
    process.exitCode = 2;
    return;
  }
  const parent = process.ppid;
  // Before anything is started: a parent that dies meanwhile must be noticed too.
  const ended = new Promise<void>((resolve) => {
    process.once('SIGTERM', () => resolve());
    process.once('SIGINT', () => resolve());
    process.stdin.once('end', () => resolve());
    process.stdin.once('close', () => resolve());
    process.stdin.once('error', () => resolve());
    process.stdin.resume();
    setInterval(() => process.ppid !== parent && resolve(), PARENT_POLL_MS).unref();
  });
  const simulators = await startSimulators(options);
  assert(simulators.record.pid === process.pid, 'the record names this process');
  await ended;
  await simulators.close();
}

if (import.meta.main) {
  main()
    .catch((error: unknown) => {
      process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
      process.exitCode = exitCodeOf(error);
    })
    // stdin and timers must not keep an ended process.
    .finally(() => process.exit());
}
