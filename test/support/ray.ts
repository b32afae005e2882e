import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OperatingError } from '../../core/operating-error.ts';
import { systemClock } from '../../platform/clock.ts';
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

/** For all tries of a start together. Ray gives each 30 s whatever one asks, which on a machine as busy as that of a test run can be too few. */
const START_LIMIT_MS = 300_000;

/** `start` again and again while it fails: to start is not what the tests are about. */
export async function startedAtLast<T>(start: () => Promise<T>): Promise<T> {
  const deadlineMs = performance.now() + START_LIMIT_MS;
  for (;;) {
    try {
      return await start();
    } catch (error) {
      const never = error instanceof OperatingError && error.retry === 'never';
      if (never || performance.now() > deadlineMs) throw error;
      process.stderr.write(`started again: ${error instanceof Error ? error.message : String(error)}\n`);
      await systemClock.sleep(1_000);
    }
  }
}

/** Starts a Ray with 4 CPUs and 4 fake GPUs; `pool_a` is a custom resource of its one node. */
export async function startTestRay(): Promise<TestRay> {
  const stateDir = await mkdtemp(join(tmpdir(), 'merit-test-ray-'));
  const venvDir = pythonVenv();
  const options = { venvDir, stateDir, numCpus: TEST_RAY_CPUS, fakeGpus: TEST_RAY_GPUS, resources: { pool_a: 2 } };
  const cluster = await startedAtLast(() => startLocalCluster(options));
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
