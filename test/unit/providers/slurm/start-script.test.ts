import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { tarOf } from '../../../../providers/cloud/tar.ts';
import type { AttemptSpec } from '../../../../providers/provider.ts';
import { RunFolder } from '../../../../providers/slurm/run-folder.ts';
import { batchScript, NOT_CLAIMED, nodeScript } from '../../../../providers/slurm/start-script.ts';

let shared: string;
let folder: RunFolder;
beforeEach(async () => {
  shared = await mkdtemp(join(tmpdir(), 'merit-slurm-'));
  folder = new RunFolder(shared, 'm-x-1');
  await folder.own({ uid: 'u', tag: 't', bookingId: 'x', attempt: '1', content: 'c' });
});
afterEach(() => rm(shared, { recursive: true, force: true }));

const SPEC: AttemptSpec = {
  key: 'm-x-1',
  tag: 't',
  bookingId: 'x',
  attempt: 1,
  entrypoint: 'true',
  workdir: undefined,
  env: {},
  resources: { gpuMilli: 2000n, cpuMilli: 0n, memoryBytes: 0n },
  flavour: 'a',
  leaseMs: 1000,
};

interface Fields extends Partial<AttemptSpec> {
  readonly noticeAfterSeconds?: number;
  readonly code?: string;
}

/** What Slurm runs of an attempt; of several nodes with a `srun` of ours, which runs them here. */
async function begun(fields: Fields, jobId = 12): Promise<ChildProcess> {
  const { noticeAfterSeconds = 0, code, ...rest } = fields;
  const spec = { ...SPEC, ...rest };
  const node = join(folder.path, 'node.sh');
  await writeFile(node, nodeScript(spec, folder.path));
  const places = { run: folder.path, node, code, mode: 0o2770 };
  const batch = join(folder.path, `batch-${jobId}.sh`);
  await writeFile(batch, batchScript(places, { nodes: spec.nodes ?? 1, cpusPerNode: 1, noticeAfterSeconds }));
  const bin = join(shared, 'bin');
  await mkdir(bin, { recursive: true });
  const srun =
    '#!/bin/sh\nwhile [ "$1" != /bin/sh ]; do shift; done\nfor i in 0 1; do SLURM_PROCID=$i "$@" & done\nwait\n';
  await writeFile(join(bin, 'srun'), srun, { mode: 0o755 });
  await writeFile(join(bin, 'scontrol'), '#!/bin/sh\nprintf "n1\\nn2\\n"\n', { mode: 0o755 });
  const env = { PATH: `${bin}:/usr/bin:/bin`, SLURM_JOB_ID: String(jobId), SLURM_PROCID: '0', SLURM_JOB_USER: 'me' };
  return spawn('/bin/sh', [batch], { stdio: 'ignore', env });
}

async function ended(child: ChildProcess): Promise<number | null> {
  const [code] = (await once(child, 'close')) as [number | null];
  return code;
}

const log = () => readFile(join(folder.path, 'log'), 'utf8');

async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await what())) await sleep(20);
}

test('the environment reaches the command byte for byte, and nothing in it is run', async () => {
  const hostile = `'"$(touch ${shared}/ran)\`id\`;|&\\ %s \${HOME} '\\''\u0001\t\n€😀\u202e -- `;
  await ended(await begun({ env: { HOSTILE: hostile }, entrypoint: 'printf %s "$HOSTILE"' }));
  expect(await log()).toBe(hostile);
  expect(existsSync(join(shared, 'ran'))).toBe(false);
});

test('a command’s end is written down with its code, its times, and by which job it was', async () => {
  expect(await ended(await begun({ entrypoint: 'exit 3' }))).toBe(3);
  expect(await folder.exit()).toMatchObject({ job: 12, code: 3, before: 'nothing', cpuMs: expect.any(Number) });
  expect(await folder.claim()).toEqual({ by: 'job', job: 12 });
});

test('of two jobs of an attempt one runs it, and after a release none', async () => {
  const first = await begun({ entrypoint: 'echo ran' });
  await ended(first);
  expect(await ended(await begun({ entrypoint: 'echo ran' }, 13))).toBe(NOT_CLAIMED);
  expect(await log()).toBe('ran\n');
  expect((await folder.exit())?.job).toBe(12);
  folder = new RunFolder(shared, 'm-x-2');
  await folder.own({ uid: 'u', tag: 't', bookingId: 'x', attempt: '2', content: 'c' });
  expect(await folder.forbid()).toBe(true);
  expect(await ended(await begun({ entrypoint: 'echo ran' }))).toBe(NOT_CLAIMED);
  expect(existsSync(join(folder.path, 'log'))).toBe(false);
});

const PATIENT = `trap 'echo told; exit 5' TERM; echo ready; while :; do sleep 0.05; done`;

test('a nudge gives the command its notice where there is one, once, and leaves the end to it', async () => {
  const stays = `trap 'echo told' TERM; echo ready; while [ ! -e ../enough ]; do sleep 0.05; done; exit 7`;
  const child = await begun({ entrypoint: stays });
  await until(async () => existsSync(join(folder.path, 'log')) && (await log()).includes('ready'));
  child.kill('SIGURG');
  await folder.giveNotice();
  // The first may come before it is listened for.
  await until(async () => child.kill('SIGURG') && (await log()).includes('told'));
  child.kill('SIGURG');
  const end = ended(child);
  await writeFile(join(folder.path, 'enough'), '');
  expect(await end).toBe(7);
  expect((await log()).match(/told/g)).toHaveLength(1);
});

test('before Slurm’s limit a command has its notice, and nothing is left of what counted the time', async () => {
  const child = await begun({ entrypoint: PATIENT, noticeAfterSeconds: 1 });
  expect(await ended(child)).toBe(5);
  expect((await folder.traces()).hasNotice).toBe(true);
  const quick = new RunFolder(shared, 'm-x-3');
  folder = quick;
  await folder.own({ uid: 'u', tag: 't', bookingId: 'x', attempt: '3', content: 'c' });
  await ended(await begun({ noticeAfterSeconds: 600 }));
  expect((await folder.traces()).hasNotice).toBe(false);
});

test('that Slurm ended a command is written down, though the command ended well', async () => {
  const child = await begun({ entrypoint: `trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done` });
  await until(async () => existsSync(join(folder.path, 'log')) && (await log()).includes('ready'));
  // As slurmstepd does, all processes of the job; here its shell first.
  child.kill('SIGTERM');
  await folder.giveNotice();
  const end = ended(child);
  await until(() => child.exitCode !== null || !child.kill('SIGURG'));
  expect(await end).toBe(0);
  expect(await folder.exit()).toMatchObject({ code: 0, before: 'told' });
});

test('the workdir is there, and one that cannot be unpacked is no success', async () => {
  const code = join(shared, 'code.tar');
  await writeFile(
    code,
    tarOf([{ path: 'a/run.sh', executable: true, bytes: Buffer.from('#!/bin/sh\necho from-there\n') }]),
  );
  expect(await ended(await begun({ entrypoint: './a/run.sh', code }))).toBe(0);
  expect(await log()).toBe('from-there\n');
  folder = new RunFolder(shared, 'm-x-2');
  await folder.own({ uid: 'u', tag: 't', bookingId: 'x', attempt: '2', content: 'c' });
  expect(await ended(await begun({ code: join(shared, 'none.tar') }))).toBe(125);
  expect((await folder.exit())?.code).toBe(125);
});

test('each node of a gang knows its rank and where the others are', async () => {
  const entrypoint =
    'echo "$MERIT_NODE_RANK $SKYPILOT_NODE_RANK $MERIT_NUM_NODES $MERIT_HEAD_IP:$MERIT_HEAD_PORT" $MERIT_NODE_IPS $SKYPILOT_NUM_GPUS_PER_NODE';
  expect(await ended(await begun({ nodes: 2, entrypoint }))).toBe(0);
  expect((await log()).trim().split('\n').sort()).toEqual(['0 0 2 n1:12012 n1 n2 2', '1 1 2 n1:12012 n1 n2 2']);
});

test('a variable that no process can carry is refused', () => {
  expect(() => nodeScript({ ...SPEC, env: { A: 'x'.repeat(131_072) } }, '/run')).toThrow('A has 131074 bytes');
});
