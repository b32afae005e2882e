import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const run = promisify(execFile);
const at = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

/** Each costs a second and tens of megabytes, whoever loads it. */
const HEAVY =
  /^(@aws-sdk\/client-.*|@aws-sdk\/lib-storage|@kubernetes\/client-node|@google-cloud\/.*|@grpc\/.*|google-gax|google-auth-library)$/;

/** The heavy packages that come with these modules, and with what the default export of `then` does. */
async function heavy(
  modules: readonly string[],
  then = '',
  env: Readonly<Record<string, string>> = {},
): Promise<readonly string[]> {
  const args = [
    '--conditions=merit-source',
    at('test/support/loaded-packages.ts'),
    then === '' ? '' : at(then),
    ...modules.map(at),
  ];
  const { stdout } = await run(process.execPath, args, { env: { ...process.env, ...env } });
  return stdout
    .split('\n')
    .filter((name) => HEAVY.test(name))
    .sort();
}

test('neither the command line nor the server loads the SDK of a cloud that no pool uses', async () => {
  expect(await heavy(['api/cli/program.ts', 'api/roles/serve.ts', 'providers/registry.ts'])).toEqual([]);
}, 60_000);

test('a pool on SageMaker is checked and opened without its SDK, which its first call loads', async () => {
  const opens = 'test/support/sagemaker/open-pool.ts';
  expect(await heavy([], opens)).toEqual([]);
  expect(await heavy([], opens, { MERIT_ASK: '1', AWS_ACCESS_KEY_ID: 'x', AWS_SECRET_ACCESS_KEY: 'x' })).toEqual([
    '@aws-sdk/client-sagemaker',
  ]);
}, 60_000);

test('a pool on Vertex AI is checked and opened without its SDK, which its first call loads', async () => {
  const opens = 'test/support/vertex/open-pool.ts';
  expect(await heavy([], opens)).toEqual([]);
  expect(await heavy([], opens, { MERIT_ASK: '1' })).toEqual([
    '@google-cloud/aiplatform',
    '@grpc/grpc-js',
    '@grpc/proto-loader',
    'google-auth-library',
    'google-gax',
  ]);
}, 120_000);

test('a pool on Kubernetes is checked and opened without its client, which its first call loads', async () => {
  const opens = 'test/support/kubernetes/open-pool.ts';
  const folder = await mkdtemp(join(tmpdir(), 'merit-lazy-'));
  expect(await heavy([], opens)).toEqual([]);
  const env = { MERIT_ASK: '1', MERIT_TEST_FOLDER: folder };
  expect(await heavy([], opens, env)).toEqual(['@kubernetes/client-node']);
  await rm(folder, { recursive: true });
}, 120_000);
