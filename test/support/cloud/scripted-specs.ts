import type { AttemptSpec } from '../../../providers/provider.ts';
import type { Script } from './container.ts';

/** Attempts of whole machines with four GPUs, each of a booking of its own; what their containers do is put into `scripts`, by their keys. */
export function scriptedSpecs(
  flavour: string,
  scripts: Map<string, Script>,
): (fields?: Partial<AttemptSpec>, script?: Script) => AttemptSpec {
  let count = 0;
  return (fields = {}, script = {}) => {
    const bookingId = `01k0000000000000000000000${++count}`;
    const spec: AttemptSpec = {
      key: `m-${bookingId}-1`,
      tag: 'merit-test',
      bookingId,
      attempt: 1,
      entrypoint: 'python train.py',
      workdir: undefined,
      env: { MERIT_PARAMETERS: '{}' },
      resources: { gpuMilli: 4000n, cpuMilli: 8000n, memoryBytes: 0n },
      flavour,
      leaseMs: 3_600_000,
      ...fields,
    };
    scripts.set(spec.key, script);
    return spec;
  };
}
