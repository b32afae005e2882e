import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { tarOf } from '../../../../providers/cloud/tar.ts';
import type { AttemptSpec } from '../../../../providers/provider.ts';
import { readWorkdir } from '../../../../providers/provider.ts';
import { containerEntrypoint, startScript } from '../../../../providers/sagemaker/start-script.ts';
import { untar } from '../../../support/cloud/staged.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'merit-opt-ml-'));
  for (const folder of ['input/data/merit', 'input/data/merit-code', 'input/config'])
    await mkdir(join(root, folder), { recursive: true });
});
afterEach(() => rm(root, { recursive: true, force: true }));

/** What SageMaker runs of an attempt, with a folder of ours for /opt/ml. */
async function begun(
  fields: Partial<AttemptSpec>,
  host = 'algo-1',
): Promise<ChildProcess & { readonly out: () => string }> {
  const spec: AttemptSpec = {
    key: 'm-x-1',
    tag: 't',
    bookingId: 'x',
    attempt: 1,
    entrypoint: 'true',
    workdir: undefined,
    env: {},
    resources: { gpuMilli: 4000n, cpuMilli: 0n, memoryBytes: 0n },
    flavour: 'a',
    leaseMs: 1000,
    ...fields,
  };
  const [, file = ''] = containerEntrypoint(root);
  await writeFile(file, startScript(spec, root));
  await writeFile(
    join(root, 'input/config/resourceconfig.json'),
    JSON.stringify({ current_host: host, hosts: ['algo-1', 'algo-2'] }),
  );
  if (spec.workdir !== undefined)
    await writeFile(
      join(root, 'input/data/merit-code/code.tar'),
      tarOf(await readWorkdir(spec.workdir, AbortSignal.timeout(5_000))),
    );
  const child = spawn('/bin/sh', [file], { stdio: ['ignore', 'pipe', 'ignore'] });
  let text = '';
  child.stdout.on('data', (part) => {
    text += String(part);
  });
  return Object.assign(child, { out: () => text });
}

async function ended(child: ChildProcess): Promise<number | null> {
  const [code] = (await once(child, 'close')) as [number | null];
  return code;
}

test('the environment reaches the command byte for byte, and nothing in it is run', async () => {
  const hostile = `'"$(touch ${root}/ran)\`id\`;|&\\ %s \${HOME} '\\''\u0001\t\n€😀\u202e -- `;
  const child = await begun({
    env: { HOSTILE: hostile, EMPTY: '' },
    entrypoint: `printf '%s|%s|%s' "$HOSTILE" "$EMPTY" "it's"`,
  });
  expect(await ended(child)).toBe(0);
  expect(child.out()).toBe(`${hostile}||it's`);
  await expect(readFile(join(root, 'ran'))).rejects.toThrow();
});

test('the command’s exit code is the container’s', async () => {
  expect(await ended(await begun({ entrypoint: 'exit 37' }))).toBe(37);
});

test('SIGTERM reaches all that the command started, and how that ends is told', async () => {
  const inner = `sh -c 'trap "echo saved; exit 5" TERM; echo ready; i=0; while [ $i -lt 200 ]; do sleep 0.05; i=$((i+1)); done'`;
  const child = await begun({ entrypoint: `${inner}; code=$?; exit $code` });
  while (!child.out().includes('ready')) await sleep(10);
  child.kill('SIGTERM');
  await ended(child);
  expect(child.out()).toContain('saved');
});

test('a command that takes its notice has its time', async () => {
  const child = await begun({
    entrypoint: `trap 'sleep 0.3; echo done; exit 9' TERM; echo ready; i=0; while [ $i -lt 200 ]; do sleep 0.05; i=$((i+1)); done`,
  });
  while (!child.out().includes('ready')) await sleep(10);
  child.kill('SIGTERM');
  expect(await ended(child)).toBe(9);
  expect(child.out()).toContain('done');
});

test('nodes know their rank, each other and their head', async () => {
  const entrypoint =
    'printf "%s/%s %s %s %s\\n" "$MERIT_NODE_RANK" "$MERIT_NUM_NODES" "$MERIT_HEAD_IP" "$SKYPILOT_NODE_RANK" "$SKYPILOT_NUM_GPUS_PER_NODE"; printf "%s\\n" "$MERIT_NODE_IPS"';
  const gang = await begun({ nodes: 2, entrypoint }, 'algo-2');
  await ended(gang);
  expect(gang.out()).toBe('[merit] node 1 of 2 begins\n1/2 algo-1 1 4\nalgo-1\nalgo-2\n');
  const alone = await begun({ entrypoint });
  await ended(alone);
  expect(alone.out()).toBe('0/1 127.0.0.1 0 4\n127.0.0.1\n');
});

test('a workdir is unpacked as it was: long and foreign names, what may be run, and the same bytes each time', async () => {
  const workdir = join(root, 'mine');
  const deep = `${'a-long-folder/'.repeat(10)}grün €.txt`;
  const files = {
    'run.sh': '#!/bin/sh\necho it ran\n',
    [deep]: 'deep',
    zero: '',
    ['x'.repeat(100)]: '\0\u0001',
    ['y'.repeat(101)]: 'y',
  };
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(workdir, path, '..'), { recursive: true });
    await writeFile(join(workdir, path), text);
  }
  await chmod(join(workdir, 'run.sh'), 0o755);
  const child = await begun({ workdir, entrypoint: './run.sh' });
  expect(await ended(child)).toBe(0);
  expect(child.out()).toBe('it ran\n');
  for (const [path, text] of Object.entries(files))
    expect(await readFile(join(root, 'merit', path), 'utf8'), path).toBe(text);
  const read = await readWorkdir(workdir, AbortSignal.timeout(5_000));
  const tar = tarOf(read);
  expect(tar.equals(tarOf(read))).toBe(true);
  expect([...untar(tar).keys()].sort()).toEqual(Object.keys(files).sort());
  expect(
    execFileSync('tar', ['-tf', '-'], { input: tar, env: { ...process.env, LC_ALL: 'C.UTF-8' } })
      .toString()
      .split('\n'),
  ).toHaveLength(6);
});

test('a container without its workdir fails before the command', async () => {
  const child = await begun({ workdir: 'test/support/sagemaker', entrypoint: 'echo ran' });
  await ended(child);
  await writeFile(join(root, 'input/data/merit-code/code.tar'), 'no archive');
  const again = spawn('/bin/sh', [containerEntrypoint(root)[1]!], { stdio: ['ignore', 'pipe', 'ignore'] });
  expect(await ended(again)).toBe(125);
});
