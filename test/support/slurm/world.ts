import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../../platform/clock.ts';
import type { AttemptSpec, EndOutcome, Observation, PoolFlavour, Provider } from '../../../providers/provider.ts';
import { openProvider } from '../../../providers/registry.ts';
import slurm from '../../../providers/slurm/adapter.ts';
import type { SlurmConfig } from '../../../providers/slurm/config.ts';
import type { SlurmFacts } from '../../parts/slurm.ts';

/** However busy the machine is. */
export const PATIENCE_MS = 120_000;
const LOOK_EVERY_MS = 200;

export const A100: PoolFlavour = {
  flavour: 'a100',
  resource: 'gpu',
  spot: false,
  currency: 'EUR',
  centsPerUnitHour: 200n,
};

export type Ended = Observation & { readonly state: 'ended'; readonly outcome: EndOutcome };

/** A provider on a real Slurm, as Merit would open it. */
export class SlurmWorld {
  readonly provider: Provider;
  readonly tag: string;
  readonly #facts: SlurmFacts;
  readonly #opened: Provider[] = [];
  readonly #stateDir: string;
  #count = 0;

  private constructor(facts: SlurmFacts, provider: Provider, stateDir: string) {
    this.#facts = facts;
    this.provider = provider;
    this.#opened.push(provider);
    this.#stateDir = stateDir;
    this.tag = `t${process.pid}-${facts.dir.slice(-6)}`;
  }

  static async open(facts: SlurmFacts, config: Partial<SlurmConfig> = {}): Promise<SlurmWorld> {
    const stateDir = await mkdtemp(join(tmpdir(), 'merit-slurm-'));
    return new SlurmWorld(facts, await providerOn(facts, config, stateDir), stateDir);
  }

  /** Another one, which knows nothing of the first. */
  async another(config: Partial<SlurmConfig> = {}): Promise<Provider> {
    const provider = await providerOn(this.#facts, config, this.#stateDir);
    this.#opened.push(provider);
    return provider;
  }

  spec(entrypoint: string, fields: Partial<AttemptSpec> = {}): AttemptSpec {
    const bookingId = fields.bookingId ?? `${this.tag}-${++this.#count}`;
    const attempt = fields.attempt ?? 1;
    return {
      key: `m-${bookingId}-${attempt}`,
      tag: this.tag,
      bookingId,
      attempt,
      entrypoint,
      workdir: undefined,
      env: { MERIT_TEST_TAG: this.tag },
      resources: { gpuMilli: 1000n, cpuMilli: 1000n, memoryBytes: 0n },
      flavour: 'a100',
      leaseMs: 900_000,
      ...fields,
    };
  }

  get signal(): AbortSignal {
    return AbortSignal.timeout(PATIENCE_MS);
  }

  async until<S extends Observation['state']>(
    key: string,
    ...states: readonly S[]
  ): Promise<Observation & { state: S }> {
    for (const limitMs = Date.now() + PATIENCE_MS; ; await sleep(LOOK_EVERY_MS)) {
      const seen = await this.provider.observe(key, this.signal);
      if (states.includes(seen.state as S)) return seen as Observation & { state: S };
      if (Date.now() > limitMs) throw new Error(`${key} is never ${states}: ${JSON.stringify(seen)}`);
    }
  }

  async log(key: string): Promise<string> {
    return Buffer.from(await this.provider.logs(key, 0, 1024 * 1024, this.signal)).toString('utf8');
  }

  async untilLog(key: string, text: string): Promise<void> {
    while (!(await this.log(key)).includes(text)) await sleep(LOOK_EVERY_MS);
  }

  /** Processes of jobs of this world. */
  async processes(): Promise<readonly string[]> {
    const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
    const found = await Promise.all(
      pids.map(async (pid) => {
        const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
        return environment.split('\0').includes(`MERIT_TEST_TAG=${this.tag}`) ? [pid] : [];
      }),
    );
    return found.flat();
  }

  async close(): Promise<void> {
    for (const { key } of await this.provider.list(this.tag, this.signal))
      await this.provider.release(key, this.signal);
    await Promise.all(this.#opened.map((one) => one.close()));
    await rm(this.#stateDir, { recursive: true, force: true });
  }
}

function providerOn(facts: SlurmFacts, config: Partial<SlurmConfig>, stateDir: string): Promise<Provider> {
  const whole = {
    socket: facts.socket,
    user: facts.user,
    shared: facts.shared,
    partition: 'gpu',
    flavours: [{ name: 'a100', gres: 'gpu:a100' }],
    ...config,
  };
  return openProvider(slurm as never, whole, { stateDir, clock: systemClock, flavours: [A100] });
}
