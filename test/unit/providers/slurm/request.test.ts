import { expect, test } from 'vitest';
import type { AttemptSpec } from '../../../../providers/provider.ts';
import { flavoursOf, type SlurmConfig } from '../../../../providers/slurm/config.ts';
import { ownerIn, ownerOf } from '../../../../providers/slurm/ownership.ts';
import { checkAllowed, checkFits, requestOf, timeLimitMinutes } from '../../../../providers/slurm/request.ts';

const CONFIG: SlurmConfig = {
  socket: '/run/s.sock',
  user: 'merit',
  shared: '/shared',
  partition: 'gpu',
  account: 'search',
  accounts: ['other'],
  flavours: [{ name: 'a100', gres: 'gpu:a100', constraint: 'ib', qos: 'high' }, { name: 'cpu' }],
};
const [A100, CPU] = flavoursOf(CONFIG) as [ReturnType<typeof flavoursOf>[0], ReturnType<typeof flavoursOf>[0]];
const SPEC: AttemptSpec = {
  key: 'm-b-1',
  tag: 'here',
  bookingId: 'b',
  attempt: 1,
  entrypoint: "echo 'x'; $(id)",
  workdir: undefined,
  env: { A: "'; rm -rf /" },
  resources: { gpuMilli: 2000n, cpuMilli: 2500n, memoryBytes: 3n * 1024n ** 3n + 1n },
  nodes: 2,
  flavour: 'a100',
  leaseMs: 90_000,
};
const PLACES = {
  run: '/shared/runs/m-b-1',
  node: '/shared/runs/m-b-1/node-1.sh',
  code: '/shared/code/1.tar',
  mode: 0o2770,
};
const OWNER = ownerOf(SPEC, 'u');
const requested = (spec = SPEC, flavour = A100, options = {}, config = CONFIG) =>
  requestOf(spec, OWNER, flavour, options, PLACES, config);

test('an attempt is asked for by nodes, with what each of them has of it, and once', () => {
  const { job } = requested();
  expect(job).toMatchObject({
    name: 'm-b-1',
    partition: 'gpu',
    account: 'search',
    qos: 'high',
    constraints: 'ib',
    nodes: [2, 2],
    tasks: 2,
    tasks_per_node: 1,
    cpus_per_task: 3,
    memory_per_node: 3073,
    gres: 'gpu:a100:2',
    time_limit: 2,
    no_requeue: true,
    standard_output: '/shared/runs/m-b-1/slurm.log',
  });
  expect(ownerIn(String(job.comment))).toEqual(OWNER);
});

test('what is not said is not asked for', () => {
  const resources = { gpuMilli: 0n, cpuMilli: 0n, memoryBytes: 0n };
  const { account: _, ...bare } = CONFIG;
  const { job } = requested({ ...SPEC, resources, nodes: 1 }, CPU, {}, bare);
  for (const name of ['gres', 'memory_per_node', 'qos', 'account', 'reservation', 'constraints', 'licenses', 'nice'])
    expect(job).not.toHaveProperty(name);
  expect(job.cpus_per_task).toBe(1);
});

test('a job’s own words go before its flavour’s and its pool’s, but a constraint is one more', () => {
  const { job } = requested(SPEC, A100, { account: 'other', qos: 'low', constraint: 'a|b', nice: 3 });
  expect(job).toMatchObject({ account: 'other', qos: 'low', constraints: '(ib)&(a|b)', nice: 3 });
});

test('nothing of a tenant stands in what Slurm runs', () => {
  const { script } = requested();
  expect(script).not.toContain(SPEC.entrypoint);
  expect(script).not.toContain('rm -rf');
  expect(script).toContain('srun --nodes=2 --ntasks=2');
  expect(script).toContain('umask 0007');
});

test('Slurm’s limit is the lease in whole minutes, and notice is given before it', () => {
  expect(timeLimitMinutes(1, {})).toBe(1);
  expect(timeLimitMinutes(60_001, {})).toBe(2);
  expect(timeLimitMinutes(60_000, { extensionSeconds: 61 })).toBe(3);
  expect(requested({ ...SPEC, leaseMs: 600_000 }).script).toContain('sleep 480 &');
  expect(requested({ ...SPEC, leaseMs: 60_000 }).script).toContain('sleep 30 &');
  expect(requested(SPEC, A100, {}, { ...CONFIG, noticeSeconds: 0 }).script).not.toContain('sleep');
});

test('what the pool cannot run, or does not let a job ask for, is refused', () => {
  const asked = (gpuMilli: bigint) => ({ ...SPEC, resources: { ...SPEC.resources, gpuMilli } });
  expect(() => checkFits(asked(500n), A100)).toThrow(expect.objectContaining({ code: 'invalid' }));
  expect(() => checkFits(asked(1000n), CPU)).toThrow('it has no GPU');
  checkFits(asked(1000n), A100);
  checkAllowed(CONFIG, { account: 'search' });
  checkAllowed(CONFIG, { account: 'other' });
  expect(() => checkAllowed(CONFIG, { account: 'theirs' })).toThrow(
    "options.slurm.account: theirs is none of the pool's: search, other",
  );
  expect(() => checkAllowed(CONFIG, { qos: 'high' })).toThrow(
    'options.slurm.qos: the pool lets jobs name none: leave it out',
  );
});
