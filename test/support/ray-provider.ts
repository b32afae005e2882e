import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import type { Clock } from '../../platform/clock.ts';
import { type AttemptSpec, type Provider, ProviderError } from '../../providers/provider.ts';
import { openRayProvider } from '../../providers/ray/adapter.ts';
import type { RayConfig } from '../../providers/ray/config.ts';
import { type FakeRay, startFakeRay } from './fake-ray.ts';

/** What each test of the Ray provider on a fake Ray has: both of its own, time that it holds, and a folder with the token. */

export const KEY = 'm-b1-1';
export const OURS = { merit_tag: 'here', merit_booking: 'b1', merit_attempt: '1' };
export const SPEC: AttemptSpec = {
  key: KEY,
  tag: 'here',
  bookingId: 'b1',
  attempt: 1,
  entrypoint: 'python train.py',
  workdir: undefined,
  env: { MERIT_PARAMETERS: '{"a":"; rm -rf /"}' },
  resources: { gpuMilli: 2000n, cpuMilli: 500n, memoryBytes: 1_000_000n },
  flavour: 'default',
  leaseMs: 60_000,
};
export const POST = /^POST \/api\/jobs\/$/;
export const GET = /^GET \/api\/jobs\/m-b1-1$/;
export const signal = new AbortController().signal;

/** Sleeps pass at once and move the time. */
class FastClock implements Clock {
  nowMs = 1_000_000;
  now(): number {
    return this.nowMs;
  }
  async sleep(ms: number): Promise<void> {
    this.nowMs += ms;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

export let ray: FakeRay;
export let folder: string;
export let clock: FastClock;
export let provider: Provider;

beforeEach(async () => {
  ray = await startFakeRay();
  folder = await mkdtemp(join(tmpdir(), 'merit-ray-'));
  await writeFile(join(folder, 'token'), `${ray.token}\n`);
  clock = new FastClock();
  provider = await providerWith({});
});
afterEach(async () => {
  await provider.close();
  await ray.close();
  await rm(folder, { recursive: true });
});

export function providerWith(config: Partial<RayConfig>): Promise<Provider> {
  const base = { address: ray.address, tokenFile: join(folder, 'token'), timeoutMs: 2_000, submitTimeoutMs: 400 };
  return openRayProvider({ ...base, ...config }, clock);
}

export async function failureOf(work: Promise<unknown>): Promise<ProviderError> {
  const failure = await work.then(
    () => undefined,
    (error) => error,
  );
  expect(failure).toBeInstanceOf(ProviderError);
  return failure as ProviderError;
}

export const posts = () => ray.calls.filter((call) => POST.test(call)).length;
