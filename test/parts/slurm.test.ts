import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SlurmWorld } from '../support/slurm/world.ts';
import { type OwnPart, ownPart, partMissing } from './harness/use.ts';
import { type SlurmFacts, slurm, slurmCommand } from './slurm.ts';

const missing = partMissing(slurm);
const SLEEPS = 'exec sleep 600';

/** What the kit cannot make a Slurm show, for it takes nodes, partitions and memory from all jobs that run. */
describe.skipIf(missing !== undefined)(`a real Slurm${missing === undefined ? '' : ` (${missing})`}`, () => {
  let part: OwnPart<SlurmFacts>;
  let world: SlurmWorld;
  const scontrol = (...args: readonly string[]) => slurmCommand(part.facts, 'scontrol', args);

  beforeAll(async () => {
    part = await ownPart(slurm);
    world = await SlurmWorld.open(part.facts);
  });
  afterAll(async () => {
    await world?.close();
    await part?.stop();
  });

  test('tells what GPUs its nodes have, and none of a node that is drained', async () => {
    const told = await world.provider.capacity(world.signal);
    expect(told).toMatchObject([
      { flavour: 'a100', totalGpuMilli: 4000n, freeGpuMilli: 4000n, totalCpuMilli: 32_000n },
    ]);
    await scontrol('update', 'nodename=n2', 'state=drain', 'reason=test');
    const other = await world.another();
    expect(await other.capacity(world.signal)).toMatchObject([{ totalGpuMilli: 2000n, freeGpuMilli: 2000n }]);
    await scontrol('update', 'nodename=n2', 'state=resume');
  });

  test('keeps a job that cannot run yet, with its reason, and one that was released or drained meanwhile never runs', async () => {
    await scontrol('update', 'partition=gpu', 'state=DOWN');
    const [waits, released, drained] = [world.spec('echo ran'), world.spec('echo ran'), world.spec('echo ran')];
    for (const spec of [waits, released, drained]) await world.provider.submit(spec, world.signal);
    expect(await world.until(waits.key, 'pending')).toMatchObject({
      message: expect.stringContaining('PartitionDown'),
    });
    await world.provider.release(released.key, world.signal);
    await world.provider.drain(drained.key, Date.now() + 60_000, world.signal);
    for (const { key } of [released, drained])
      expect(await world.until(key, 'ended')).toMatchObject({ outcome: 'stopped' });
    await scontrol('update', 'partition=gpu', 'state=UP');
    expect(await world.until(waits.key, 'ended')).toMatchObject({ outcome: 'succeeded' });
    for (const { key } of [released, drained]) expect(await world.log(key)).toBe('');
    // Whoever submits it again gets the same attempt, which has ended.
    await world.provider.submit(released, world.signal);
    expect(await world.until(released.key, 'ended')).toMatchObject({ outcome: 'stopped' });
  });

  test('runs a gang on several nodes at once: each knows its rank, and all have the notice', async () => {
    const told = `trap 'echo "$MERIT_NODE_RANK told"; exit 0' TERM; echo "$MERIT_NODE_RANK of $MERIT_NUM_NODES at $SLURMD_NODENAME" $MERIT_NODE_IPS; while :; do sleep 0.1; done`;
    const spec = world.spec(told, { nodes: 2 });
    await world.provider.submit(spec, world.signal);
    for (const text of ['0: 0 of 2 at n1 n1 n2', '1: 1 of 2 at n2 n1 n2']) await world.untilLog(spec.key, text);
    await world.provider.drain(spec.key, Date.now() + 60_000, world.signal);
    expect(await world.until(spec.key, 'ended')).toMatchObject({ outcome: 'stopped' });
    const log = await world.log(spec.key);
    for (const text of ['0: 0 told', '1: 1 told']) expect(log).toContain(text);
  });

  test('ends all of a gang with the code of the node that failed', async () => {
    const spec = world.spec('[ "$MERIT_NODE_RANK" = 1 ] && exit 9; exec sleep 600', { nodes: 2 });
    await world.provider.submit(spec, world.signal);
    expect(await world.until(spec.key, 'ended')).toMatchObject({ outcome: 'failed' });
    expect(await world.processes()).toEqual([]);
  });

  test('tells a job whose node was lost as taken back, once, and leaves nothing of it', async () => {
    const spec = world.spec(SLEEPS);
    await world.provider.submit(spec, world.signal);
    await world.until(spec.key, 'running');
    const node = (await slurmCommand(part.facts, 'squeue', ['-h', '-n', spec.key, '-o', '%N'])).trim();
    await scontrol('update', `nodename=${node}`, 'state=down', 'reason=test');
    expect(await world.until(spec.key, 'ended')).toMatchObject({
      outcome: 'preempted',
      message: expect.stringContaining('NODE_FAIL'),
    });
    // It comes back by itself where slurmd has registered meanwhile.
    await scontrol('update', `nodename=${node}`, 'state=resume').catch(() => {});
    await world.provider.release(spec.key, world.signal);
    while ((await world.processes()).length > 0) await sleep(200);
  });

  test('bills a job by its own times, whatever the job writes beside it, and keeps nothing of its environment', async () => {
    const forged = JSON.stringify({ outcome: 'succeeded', exitCode: 0, message: '', startedAtMs: 1, endedAtMs: 2 });
    const command = `echo '${forged}' >../end; mkdir ../exit; rm ../log; ln -s /etc/passwd ../log; exit 3`;
    const spec = world.spec(command);
    const beganMs = Date.now();
    await world.provider.submit(spec, world.signal);
    const seen = await world.until(spec.key, 'ended');
    expect(seen).toMatchObject({ outcome: 'failed', exitCode: 3 });
    expect(seen.endedAtMs).toBeGreaterThan(beganMs - 2_000);
    await expect(world.log(spec.key)).rejects.toMatchObject({ code: 'invalid' });
    await world.provider.release(spec.key, world.signal);
    const names = await readdir(join(part.facts.shared, 'runs', spec.key));
    expect(names.filter((name) => name === 'work' || name.startsWith('node-'))).toEqual([]);
    expect(names).toContain('attempt');
  });

  test('that has forgotten a job is told how it ended by the shared folder, with the CPU time that it took', async () => {
    const conf = await readFile(part.facts.conf, 'utf8');
    await writeFile(part.facts.conf, conf.replace(/MinJobAge=\d+/, 'MinJobAge=2'));
    await scontrol('reconfigure');
    const spec = world.spec('i=0; while [ "$i" -lt 100000 ]; do i=$((i+1)); done; exit 3');
    await world.provider.submit(spec, world.signal);
    const asked = ['-h', '-n', spec.key, '-t', 'all', '-o', '%i'];
    while ((await slurmCommand(part.facts, 'squeue', asked)).trim() !== '') await sleep(200);
    const other = await world.another();
    expect(await other.observe(spec.key, world.signal)).toMatchObject({
      state: 'ended',
      outcome: 'failed',
      exitCode: 3,
    });
    expect((await other.usage?.(spec.key, world.signal))?.cpuMs).toBeGreaterThan(0);
    expect(await other.list(world.tag, world.signal)).not.toContainEqual(expect.objectContaining({ key: spec.key }));
    await other.submit(spec, world.signal);
    expect(await other.list(world.tag, world.signal)).not.toContainEqual(expect.objectContaining({ key: spec.key }));
  });

  test.each([
    ['a partition', { partition: 'nowhere' }, 'invalid', 'Invalid partition'],
    ['a reservation', { reservation: 'nobody' }, 'invalid', 'reservation is invalid'],
    ['a constraint', { constraint: 'no_such_feature' }, 'invalid', 'feature'],
    ['a GRES', { flavours: [{ name: 'a100', gres: 'gpu:h100' }] }, 'invalid', 'no node has all of it'],
    ['a user other than slurmrestd’s', { user: 'nobody' }, 'auth', 'submits as daemon'],
  ])('refuses %s that is not there, without an effect', async (_what, config, code, words) => {
    const other = await world.another(config);
    const spec = world.spec(SLEEPS);
    await expect(other.submit(spec, world.signal)).rejects.toMatchObject({
      code,
      effect: 'none',
      message: expect.stringContaining(words),
    });
    const listed = await world.provider.list(world.tag, world.signal);
    expect(listed.filter(({ key, live }) => key === spec.key && live)).toEqual([]);
  });
});
