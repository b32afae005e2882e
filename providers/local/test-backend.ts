import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { signalProcess } from '../process-table.ts';
import {
  defineTestBackend,
  type PoolFlavour,
  type Provider,
  type ProviderClock,
  type TestBackend,
} from '../provider.ts';
import local from './adapter.ts';
import type { LocalConfig } from './config.ts';
import { readClaim, readJob } from './job-folder.ts';
import { jobProcesses } from './job-state.ts';

const CPUS = 4;
const STOP_GRACE_SECONDS = 2;
const FLAVOUR: PoolFlavour = {
  flavour: 'default',
  resource: 'cpu',
  spot: false,
  currency: 'USD',
  centsPerUnitHour: 1n,
};
const PS_OUTPUT_LIMIT_BYTES = 16 * 1024 * 1024;

/** This machine for the conformance kit: its jobs are real processes, and what it can be made to show is room that is taken, strangers, and loss. */
class LocalBackend implements TestBackend {
  readonly flavour = FLAVOUR;
  readonly config: LocalConfig;
  readonly #root: string;
  readonly #clock: ProviderClock;
  readonly #strangers = new Map<string, ChildProcess>();
  #filler: { readonly provider: Provider; readonly key: string } | undefined;

  constructor(root: string, clock: ProviderClock) {
    this.#root = root;
    this.#clock = clock;
    this.config = { root, cpus: CPUS, gpus: 0, stopGraceSeconds: STOP_GRACE_SECONDS };
  }

  /** Wrappers of a key that run, by the process table alone; where none does, what it left running counts as one. */
  async live(key: string): Promise<number> {
    const stranger = this.#strangers.get(key);
    if (stranger !== undefined) return stranger.exitCode === null && stranger.signalCode === null ? 1 : 0;
    const folder = join(this.#root, key);
    const { stdout } = await promisify(execFile)('ps', ['-Aww', '-o', 'args='], { maxBuffer: PS_OUTPUT_LIMIT_BYTES });
    const wrappers = stdout.split('\n').filter((line) => line.trimEnd().endsWith(`job-wrapper.ts ${folder}`)).length;
    return wrappers > 0 ? wrappers : (await jobProcesses(folder, readJob(folder))).length > 0 ? 1 : 0;
  }

  async denyCapacity(): Promise<void> {
    const provider = await local.open(this.config, { stateDir: this.#root, clock: this.#clock });
    const key = 'm-filler-1';
    const resources = { gpuMilli: 0n, cpuMilli: BigInt(CPUS) * 1000n, memoryBytes: 0n };
    const what = { entrypoint: 'exec sleep 600', workdir: undefined, env: {}, resources, flavour: FLAVOUR.flavour };
    const whose = { key, tag: 'filler', bookingId: 'filler', attempt: 1, leaseMs: 600_000 };
    await provider.submit({ ...what, ...whose }, AbortSignal.timeout(60_000));
    this.#filler = { provider, key };
  }

  async heal(): Promise<void> {
    const filler = this.#filler;
    this.#filler = undefined;
    if (filler === undefined) return;
    await filler.provider.release(filler.key, AbortSignal.timeout(60_000));
    await filler.provider.close();
  }

  /** Somebody's process in a folder that has an attempt's name. */
  async plantForeign(key: string): Promise<void> {
    const cwd = join(this.#root, key);
    await mkdir(cwd, { recursive: true });
    this.#strangers.set(key, spawn('sleep', ['600'], { cwd, stdio: 'ignore', detached: true }));
  }

  /** As if the machine had been set up anew. */
  async forget(key: string): Promise<void> {
    const folder = join(this.#root, key);
    const claim = readClaim(folder);
    if (claim?.by === 'wrapper') signalProcess(claim.pid, 'SIGKILL');
    for (const pid of await jobProcesses(folder, readJob(folder))) signalProcess(pid, 'SIGKILL');
    await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }

  async close(): Promise<void> {
    await this.heal();
    for (const stranger of this.#strangers.values()) stranger.kill('SIGKILL');
  }
}

export default defineTestBackend({
  time: 'real',
  start: async ({ stateDir, clock }) => {
    const root = join(stateDir, 'jobs');
    await mkdir(root, { mode: 0o700 });
    return new LocalBackend(root, clock);
  },
});
