import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startLocalCluster } from '../../providers/ray/local-cluster.ts';
import { pythonVenv, rayInstallMissing } from './python.ts';

export interface TestRay {
  readonly address: string;
  readonly tokenFile: string;
  readonly token: string;
  readonly venvDir: string;
  stop(): Promise<void>;
}

export const TEST_RAY_CPUS = 4;
export const TEST_RAY_GPUS = 4;

/**
 * Why tests on a real Ray cannot run here, with the command that provides it; undefined where they can. Throws that text when
 * MERIT_REQUIRE_PARTS=1 (CI): there, a missing part is a failure and never a skip.
 */
export function rayMissing(): string | undefined {
  return sharedRay() === undefined ? rayInstallMissing() : undefined;
}

/** A real Ray: the run's shared one if MERIT_TEST_RAY names it (`stop` then leaves it be), else one of the caller's own. */
export async function rayForTests(): Promise<TestRay> {
  const shared = sharedRay();
  if (shared !== undefined) {
    const token = await readFile(shared.tokenFile, 'utf8');
    return { ...shared, token: token.trim(), venvDir: pythonVenv(), stop: async () => {} };
  }
  const missing = rayMissing();
  if (missing !== undefined) throw new Error(missing);
  return startTestRay();
}

/** Starts a Ray with 4 CPUs and 4 fake GPUs; `pool_a` is a custom resource of its one node. */
export async function startTestRay(): Promise<TestRay> {
  const stateDir = await mkdtemp(join(tmpdir(), 'merit-test-ray-'));
  const venvDir = pythonVenv();
  const cluster = await startLocalCluster({
    venvDir,
    stateDir,
    numCpus: TEST_RAY_CPUS,
    fakeGpus: TEST_RAY_GPUS,
    resources: { pool_a: 2 },
  });
  const token = await readFile(cluster.tokenFile, 'utf8');
  return {
    address: cluster.address,
    tokenFile: cluster.tokenFile,
    token: token.trim(),
    venvDir,
    stop: async () => {
      await cluster.stop();
      await rm(stateDir, { recursive: true, force: true });
    },
  };
}

function sharedRay(): { readonly address: string; readonly tokenFile: string } | undefined {
  const text = process.env.MERIT_TEST_RAY;
  if (text === undefined || text === '') return undefined;
  const value = JSON.parse(text) as { readonly address: string; readonly tokenFile: string };
  return { address: value.address, tokenFile: value.tokenFile };
}
