import type { AttemptSpec } from './contract.ts';
import { ProviderError } from './errors.ts';

const KEY = /^[A-Za-z0-9_-]{1,128}$/;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;
/** The local provider reads it whole; Ray keeps it in its job table, where every list repeats it. */
const ENV_LIMIT_BYTES = 256 * 1024;
/** One GPU. */
const GPU_MILLI = 1000n;

/** Throws ProviderError `invalid` unless the key is 1 to 128 of [A-Za-z0-9_-]. */
export function checkKey(key: string): void {
  if (!isKey(key)) throw new ProviderError('invalid', 'a key is 1 to 128 characters of A-Z a-z 0-9 _ -');
}

export function isKey(key: string): boolean {
  return KEY.test(key);
}

/** What no provider can run, whatever it has: throws ProviderError `invalid`, effect none. */
export function checkAttempt(spec: AttemptSpec): void {
  checkKey(spec.key);
  const { gpuMilli, cpuMilli, memoryBytes } = spec.resources;
  if (gpuMilli < 0n || cpuMilli < 0n || memoryBytes < 0n)
    throw new ProviderError('invalid', 'resources cannot be negative');
  if (gpuMilli > GPU_MILLI && gpuMilli % GPU_MILLI !== 0n) {
    throw new ProviderError('invalid', `whole GPUs are given, or a part of one: ${gpuMilli} milli-GPU is neither`);
  }
  const env = Object.entries(spec.env);
  const envBytes = env.reduce((all, [name, value]) => all + Buffer.byteLength(name + value), 0);
  if (envBytes > ENV_LIMIT_BYTES)
    throw new ProviderError('invalid', `the environment has ${envBytes} bytes, ${ENV_LIMIT_BYTES} are taken`);
  if (env.some(([name, value]) => !VARIABLE.test(name) || value.includes('\0')))
    throw new ProviderError('invalid', 'the environment has a name or a value that no process can carry');
}
