import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { sha256Hex } from '../../../../core/canonical.ts';
import { tarOf } from '../../../../providers/cloud/tar.ts';
import type { AttemptSpec } from '../../../../providers/provider.ts';
import { containerCommand, type StagedFile, startScript } from '../../../../providers/vertex/start-script.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'merit-vertex-start-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const SPEC: AttemptSpec = {
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
};

/** Of the bucket that is mounted below `root`; what lies there may be something else than what was staged. */
async function staged(name: string, bytes: string | Buffer, altered = bytes): Promise<StagedFile> {
  const file = join(root, 'bucket', name);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, altered);
  return { uri: `gs://bucket/${name}`, sha256: sha256Hex(Buffer.from(bytes)) };
}

/** Runs what a container would, with this CLUSTER_SPEC. */
async function ran(
  fields: Partial<AttemptSpec>,
  cluster: unknown,
  code?: StagedFile,
  altered?: string,
): Promise<readonly [number | null, string]> {
  const script = startScript({ ...SPEC, ...fields }, code, { root, folder: join(root, 'work') });
  const start = await staged('runs/it’s 1/start.sh', script, altered);
  const [sh = '', ...args] = containerCommand(start, root, join(root, 'tmp/merit.sh'));
  const env = { PATH: process.env.PATH, ...(cluster === undefined ? {} : { CLUSTER_SPEC: JSON.stringify(cluster) }) };
  const child = spawn(sh, args, { stdio: ['ignore', 'pipe', 'ignore'], env });
  let text = '';
  child.stdout.on('data', (part) => {
    text += String(part);
  });
  const [exit] = (await once(child, 'close')) as [number | null];
  return [exit, text];
}

const TELLS =
  'printf "%s/%s %s %s %s\\n" "$MERIT_NODE_RANK" "$MERIT_NUM_NODES" "$MERIT_HEAD_IP" "$SKYPILOT_NODE_RANK" "$SKYPILOT_NUM_GPUS_PER_NODE"; printf "%s\\n" "$MERIT_NODE_IPS"';
/** As Google's documentation shows it, with the job itself at its end. */
const cluster = (type: string, index: number) => ({
  cluster: {
    workerpool0: ['cmle-training-workerpool0-ab-0:2222'],
    workerpool1: ['cmle-training-workerpool1-ab-0:2222', 'cmle-training-workerpool1-ab-1:2222'],
  },
  environment: 'cloud',
  task: { type, index, trial: '' },
  job: '{"worker_pool_specs":[{"replica_count":1}],"task":{"type":"workerpool9","index":9}}',
});

test.each([
  ['workerpool0', 0, 0],
  ['workerpool1', 0, 1],
  ['workerpool1', 1, 2],
])('of a gang %s %s is node %s, and knows the others and its head', async (type, index, rank) => {
  const [, told] = await ran({ nodes: 3, entrypoint: TELLS }, cluster(type, index));
  expect(told).toBe(
    `[merit] node ${rank} of 3 begins\n${rank}/3 cmle-training-workerpool0-ab-0 ${rank} 4\ncmle-training-workerpool0-ab-0\ncmle-training-workerpool1-ab-0\ncmle-training-workerpool1-ab-1\n`,
  );
});

test('a node alone is rank 0 and its own head; one of a gang that is told no rank does not begin', async () => {
  expect(await ran({ entrypoint: TELLS }, undefined)).toEqual([0, '0/1 127.0.0.1 0 4\n127.0.0.1\n']);
  expect(await ran({ nodes: 3, entrypoint: 'echo ran' }, undefined)).toEqual([125, '']);
});

const CODE = tarOf([{ path: 'a/it’s.txt', executable: false, bytes: Buffer.from('here') }]);

test('the command finds its workdir unpacked, and its exit code is the container’s', async () => {
  const code = await staged('code.tar', CODE);
  expect(await ran({ entrypoint: 'cat a/*; exit 7' }, undefined, code)).toEqual([7, 'here']);
  expect(await ran({ entrypoint: 'echo ran' }, undefined, { ...code, uri: 'gs://bucket/none.tar' })).toEqual([125, '']);
});

test('neither a start script nor a workdir that was altered in the bucket is run', async () => {
  expect(await ran({ entrypoint: 'echo ran' }, undefined, undefined, 'echo mine')).toEqual([125, '']);
  const other = tarOf([{ path: 'a/it’s.txt', executable: false, bytes: Buffer.from('mine') }]);
  const code = await staged('code.tar', CODE, other);
  expect(await ran({ entrypoint: 'cat a/*' }, undefined, code)).toEqual([125, '']);
});

test('a container is started by a fixed text, which Vertex AI expands nothing in, with its start and that one’s checksum beside it', () => {
  const uri = 'gs://example-merit/training/runs/m-x-1/abc/start.sh';
  const [sh, c, text, ...words] = containerCommand({ uri, sha256: 'abc' });
  expect([sh, c, ...words]).toEqual([
    '/bin/sh',
    '-c',
    'merit',
    '/gcs/example-merit/training/runs/m-x-1/abc/start.sh',
    'abc',
    '/tmp/merit.sh',
  ]);
  expect(text).not.toMatch(/\$\(|m-x-1|abc/);
});
