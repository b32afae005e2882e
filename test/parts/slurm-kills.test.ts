import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type AttemptSpec, isProviderError, type Observation } from '../../providers/provider.ts';
import { SlurmWorld } from '../support/slurm/world.ts';
import { type OwnPart, ownPart, partMissing } from './harness/use.ts';
import { killDaemon, type SlurmFacts, slurm, slurmCommand } from './slurm.ts';

const missing = partMissing(slurm);
/** `npm run test:slurm`: all of them. */
const JOBS = process.env.MERIT_SLURM === 'whole' ? 50 : 8;
/** After a daemon is back: slurmctld saves its state every few seconds, and what it had not saved is forgotten. */
const KILL_EVERY_MS = process.env.MERIT_SLURM === 'whole' ? 15_000 : 8_000;
const KILLS_AT_LEAST = 2;
/** A slow machine is given an end to them: where Slurm hardly gets up between two kills, no job ends. */
const KILLS_AT_MOST = process.env.MERIT_SLURM === 'whole' ? Number.POSITIVE_INFINITY : 6;
const KILLED = ['slurmctld', 'slurmd-n1', 'slurmctld', 'slurmd-n2'];
const LOOK_EVERY_MS = 300;
/** A slurmctld that is killed forgets what it took in the last moments: after so many looks that see nothing, the attempt is given up. */
const LOOKS_AT_NOTHING = 15;
const ATTEMPTS_LIMIT = 20;
const LIMIT_MS = 600_000;
/** Whoever still waits then says what for. */
const PATIENCE_MS = LIMIT_MS - 60_000;

/** An attempt as Merit was told of it, and by its own account: how often its command began, and came to its end. */
interface Told {
  readonly key: string;
  readonly outcome: string;
  readonly exitCode: number | undefined;
  readonly begun: number;
  readonly done: number;
  readonly message: string;
}

/** What Merit does with a job, in small: it submits, looks before it submits again, gives up what is not there, and makes another attempt of what was taken back. */
class Driver {
  readonly #world: SlurmWorld;
  readonly #limitMs = performance.now() + PATIENCE_MS;

  constructor(world: SlurmWorld) {
    this.#world = world;
  }

  async run(first: AttemptSpec): Promise<readonly Told[]> {
    const told: Told[] = [];
    while (told.length < ATTEMPTS_LIMIT) {
      const attempt = told.length + 1;
      const spec = { ...first, attempt, key: `m-${first.bookingId}-${attempt}` };
      const seen = await this.#attempt(spec);
      await this.#again(() => this.#world.provider.release(spec.key, this.#world.signal));
      const log = await this.#world.log(spec.key);
      const count = (word: string) => log.split(word).length - 1;
      const [begun, done] = [count('begun'), count('done')];
      const { outcome, exitCode, message } =
        seen.state === 'ended' ? seen : { outcome: seen.state, exitCode: undefined, message: '' };
      told.push({ key: spec.key, outcome, exitCode, begun, done, message });
      // Of its own making: nothing else ends a job's story.
      if (done > 0 && (outcome === 'succeeded' || outcome === 'failed')) break;
    }
    return told;
  }

  async #attempt(spec: AttemptSpec): Promise<Observation> {
    await this.#again(() => this.#world.provider.submit(spec, this.#world.signal));
    for (let nothing = 0; nothing < LOOKS_AT_NOTHING; ) {
      const seen = await this.#again(() => this.#world.provider.observe(spec.key, this.#world.signal));
      if (seen.state === 'ended') return seen;
      if (performance.now() > this.#limitMs) throw new Error(`${spec.key} is still ${JSON.stringify(seen)}`);
      nothing = seen.state === 'absent' ? nothing + 1 : 0;
      await sleep(LOOK_EVERY_MS);
    }
    return { state: 'absent' };
  }

  /** Slurm is away again and again; nothing else may go wrong. */
  async #again<T>(work: () => Promise<T>): Promise<T> {
    for (; ; await sleep(LOOK_EVERY_MS)) {
      try {
        return await work();
      } catch (error) {
        if (!isProviderError(error) || error.code !== 'transient' || performance.now() > this.#limitMs) throw error;
      }
    }
  }
}

describe.skipIf(missing !== undefined)(`a Slurm that is killed${missing === undefined ? '' : ` (${missing})`}`, () => {
  let part: OwnPart<SlurmFacts>;
  let world: SlurmWorld;

  beforeAll(async () => {
    part = await ownPart(slurm);
    world = await SlurmWorld.open(part.facts);
  });
  afterAll(async () => {
    await world?.close();
    await part?.stop();
  });

  test(`${JOBS} jobs on 4 GPUs end as they should, none runs twice, and nothing is left, though slurmctld and slurmd are killed all the while`, {
    timeout: LIMIT_MS,
  }, async () => {
    const jobs = Array.from({ length: JOBS }, (_, i) => {
      const exit = i % 5 === 0 ? 3 : 0;
      const command = `echo begun; sleep ${1 + (i % 4)}; echo done; exit ${exit}`;
      return { exit, spec: world.spec(command, { nodes: i % 25 === 4 ? 2 : 1, leaseMs: 60_000 }) };
    });
    const driver = new Driver(world);
    let isOver = false;
    const killing = killAllTheWhile(part.facts, () => isOver);
    const stories = await Promise.all(jobs.map(({ spec }) => driver.run(spec)))
      .catch(async (cause) => {
        throw new Error(`Slurm says:\n${await said(part.facts)}`, { cause });
      })
      .finally(() => {
        isOver = true;
      });
    const kills = await killing;
    const all = stories.flat();
    const counted = Object.entries(Object.groupBy(all, ({ outcome }) => outcome)).map(
      ([one, of]) => `${of?.length} ${one}`,
    );
    console.log(`${JOBS} jobs, ${all.length} attempts (${counted.join(', ')}), ${kills} kills`);
    expect(kills).toBeGreaterThanOrEqual(KILLS_AT_LEAST);
    for (const [i, { exit, spec }] of jobs.entries()) {
      const last = stories[i]?.at(-1);
      const nodes = spec.nodes ?? 1;
      const outcome = exit === 0 ? 'succeeded' : 'failed';
      expect(last, JSON.stringify(stories[i])).toMatchObject({ outcome, exitCode: exit });
      for (const one of stories[i] ?? []) {
        expect(one.begun, JSON.stringify(one)).toBeLessThanOrEqual(nodes);
        if (one.outcome === 'succeeded') expect(one.done, JSON.stringify(one)).toBe(nodes);
      }
    }
    await eventually(async () => (await slurmCommand(part.facts, 'squeue', ['-h'])).trim() === '');
    await eventually(async () => (await world.processes()).length === 0);
    // A node that was killed last registers again within its time.
    await eventually(async () => {
      const [told] = await (await world.another()).capacity(world.signal);
      return told?.freeGpuMilli === 4000n;
    });
  });
});

/** How many kills there were once it is over. Each daemon is back before the next one is killed. */
async function killAllTheWhile(facts: SlurmFacts, isOver: () => boolean): Promise<number> {
  for (let kills = 0; ; ) {
    await eventually(async () => (await slurmCommand(facts, 'scontrol', ['ping'])).includes('is UP'));
    // What an operator does: Slurm drains a node that says of a job what slurmctld has forgotten.
    for (const node of facts.nodes)
      if (/drain|down/.test(await slurmCommand(facts, 'sinfo', ['-h', '-p', 'gpu', '-n', node, '-o', '%T'])))
        await slurmCommand(facts, 'scontrol', ['update', `nodename=${node}`, 'state=resume']).catch(() => {});
    await sleep(KILL_EVERY_MS);
    if (isOver() && kills >= KILLS_AT_LEAST) return kills;
    if (kills >= KILLS_AT_MOST) continue;
    await eventually(async () => killDaemon(facts, KILLED[kills % KILLED.length] as string));
    kills++;
  }
}

async function said(facts: SlurmFacts): Promise<string> {
  const all = await Promise.allSettled([slurmCommand(facts, 'squeue', []), slurmCommand(facts, 'sinfo', ['-Nl'])]);
  return all.map((one) => (one.status === 'fulfilled' ? one.value : String(one.reason))).join('\n');
}

async function eventually(look: () => Promise<boolean>): Promise<void> {
  const limitMs = performance.now() + PATIENCE_MS;
  while (!(await look().catch(() => false))) {
    if (performance.now() > limitMs) throw new Error(`it does not come that ${look}`);
    await sleep(LOOK_EVERY_MS);
  }
}
