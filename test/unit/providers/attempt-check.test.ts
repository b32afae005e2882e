import { expect, test } from 'vitest';
import type { AttemptSpec } from '../../../providers/provider.ts';
import { checkAttempt } from '../../../providers/provider.ts';

const resources = { gpuMilli: 1000n, cpuMilli: 1000n, memoryBytes: 0n };
const SPEC: AttemptSpec = {
  key: 'm-1-1',
  tag: 'merit',
  bookingId: '1',
  attempt: 1,
  entrypoint: 'true',
  workdir: undefined,
  env: { MERIT_PARAMETERS: '{}' },
  resources,
  flavour: 'a',
  leaseMs: 1000,
};

test.each([
  ['as they come', {}],
  ['for a part of a GPU', { resources: { ...resources, gpuMilli: 250n } }],
  ['for several GPUs', { resources: { ...resources, gpuMilli: 8000n } }],
])('attempts %s are taken', (_what, fields) => {
  expect(() => checkAttempt({ ...SPEC, ...fields })).not.toThrow();
});

test.each([
  ['an empty key', { key: '' }],
  ['a key that leaves its folder', { key: '../x' }],
  ['a negative amount', { resources: { ...resources, cpuMilli: -1n } }],
  ['one and a half GPUs', { resources: { ...resources, gpuMilli: 1500n } }],
  ['300 KB of environment', { env: { A: 'x'.repeat(300_000) } }],
  ['a variable without a name', { env: { '': 'x' } }],
  ['a variable that a shell cannot name', { env: { 'A B': 'x' } }],
  ['a value with a zero byte', { env: { A: 'x\0y' } }],
])('%s is invalid and has no effect', (_what, fields) => {
  expect(() => checkAttempt({ ...SPEC, ...fields })).toThrow(
    expect.objectContaining({ code: 'invalid', effect: 'none' }),
  );
});
