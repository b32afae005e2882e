import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FaultProxy } from '../../../providers/merit-provider/src/kit/fault-proxy.ts';
import { defineTestBackend, type PoolFlavour, type TestBackend } from '../../../providers/provider.ts';
import type { SlurmConfig } from '../../../providers/slurm/config.ts';
import { RunFolder } from '../../../providers/slurm/run-folder.ts';
import { type SlurmFacts, slurmCommand } from '../../parts/slurm.ts';
import { SocketDoor } from './socket-door.ts';

const FLAVOUR: PoolFlavour = {
  flavour: 'cpu',
  resource: 'cpu',
  spot: false,
  currency: 'USD',
  centsPerUnitHour: 1n,
};
/** Of the reply to a job that a QOS does not let in (22.05; slurmdbd, which has them, is not here). */
const OVER_QUOTA = {
  errors: [
    {
      error_code: 2050,
      error: "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
    },
  ],
};
const LIVE = 'PENDING,RUNNING,COMPLETING,CONFIGURING,SUSPENDED';

/** A real Slurm, and a proxy before slurmrestd that shows the faults of a network and of a door. */
class SlurmBackend implements TestBackend {
  readonly config: SlurmConfig;
  readonly flavour = FLAVOUR;
  readonly #facts: SlurmFacts;
  readonly #door: SocketDoor;
  readonly #proxy: FaultProxy;
  /** Jobs of somebody else, by id. */
  readonly #others: string[] = [];

  constructor(facts: SlurmFacts, door: SocketDoor, proxy: FaultProxy) {
    this.config = proxy.config as SlurmConfig;
    this.#facts = facts;
    this.#door = door;
    this.#proxy = proxy;
  }

  loseReply(): void {
    this.#proxy.loseReply();
  }

  stallReply(): void {
    this.#proxy.stallReply();
  }

  tearReply(): void {
    this.#proxy.tearReply();
  }

  hang(): void {
    this.#proxy.hang();
  }

  goAway(): Promise<void> {
    return this.#proxy.goAway();
  }

  refuse(text: string): void {
    this.#proxy.refuse(text);
  }

  throttle(retryAfterMs: number): void {
    this.#proxy.throttle(retryAfterMs);
  }

  expireAuth(): void {
    this.#proxy.expireAuth();
  }

  denyQuota(): void {
    this.#door.refuse = { method: 'POST', status: 400, body: OVER_QUOTA };
  }

  showStatus(word: string): void {
    this.#door.rewrite = (text) =>
      text.replaceAll('"job_state": "RUNNING"', () => `"job_state": ${JSON.stringify(word)}`);
  }

  async heal(): Promise<void> {
    this.#door.refuse = undefined;
    this.#door.rewrite = undefined;
    await this.#proxy.heal();
  }

  async live(key: string): Promise<number> {
    const told = await slurmCommand(this.#facts, 'squeue', ['-h', '-n', key, '-t', LIVE, '-o', '%i']);
    return told.split('\n').filter((line) => line !== '').length;
  }

  async plantForeign(key: string): Promise<void> {
    const args = [
      '--parsable',
      '--uid',
      this.#facts.user,
      '-J',
      key,
      '-D',
      '/',
      '-o',
      '/dev/null',
      '--wrap',
      'sleep 600',
    ];
    this.#others.push((await slurmCommand(this.#facts, 'sbatch', args)).trim());
  }

  /** A job of the urgent partition wants its whole node. */
  async preempt(key: string): Promise<void> {
    const node = (await slurmCommand(this.#facts, 'squeue', ['-h', '-n', key, '-o', '%N'])).trim();
    const args = [
      '--parsable',
      '--uid',
      this.#facts.user,
      '-p',
      'urgent',
      '-w',
      node,
      '-N',
      '1',
      '-n',
      '16',
      '-D',
      '/',
    ];
    args.push('-o', '/dev/null', '--wrap', 'sleep 600');
    this.#others.push((await slurmCommand(this.#facts, 'sbatch', args)).trim());
  }

  /** As slurmctld does MinJobAge after a job's end (for real in slurm.test.ts); and its folder is gone. */
  async forget(key: string): Promise<void> {
    await slurmCommand(this.#facts, 'scancel', ['-n', key]);
    while ((await this.live(key)) > 0) await sleep(250);
    this.#door.forgotten.add(key);
    await rm(new RunFolder(this.#facts.shared, key).path, { recursive: true, force: true });
  }

  async close(): Promise<void> {
    for (const id of this.#others) await slurmCommand(this.#facts, 'scancel', [id]);
    await this.#proxy.close();
    await this.#door.close();
  }
}

export function slurmKitBackend(factsOf: () => Promise<SlurmFacts>) {
  return defineTestBackend({
    time: 'real',
    start: async ({ stateDir }) => {
      const facts = await factsOf();
      const door = await SocketDoor.open(facts.socket);
      const tokenFile = join(stateDir, 'token');
      await writeFile(tokenFile, 'of-nobody-for-slurmrestd-sees-who-connects\n');
      const config = {
        url: door.url,
        tokenFile,
        user: facts.user,
        shared: facts.shared,
        partition: 'gpu',
        flavours: [{ name: FLAVOUR.flavour }],
      };
      return new SlurmBackend(facts, door, await FaultProxy.start(config, 'url'));
    },
  });
}
