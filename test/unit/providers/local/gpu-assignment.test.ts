import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { assignGpus, gpuUse } from '../../../../providers/local/gpu-assignment.ts';

describe('GPUs of a machine', () => {
  test.each([
    ['no GPU for none', 0n, [0n], []],
    ['the first free whole ones', 2000n, [500n, 0n, 0n, 0n], [1, 2]],
    ['nothing when too few are free', 2000n, [500n, 0n], undefined],
    ['a part of the fullest that has room', 250n, [0n, 500n, 800n], [1]],
    ['a part of a fresh one only when no other has room', 600n, [500n, 0n], [1]],
    ['nothing when no part is left', 600n, [500n, 1000n], undefined],
    ['exactly what is left', 500n, [1000n, 500n], [1]],
  ])('are given out as %s', (_what, want, used, expected) => {
    expect(assignGpus(want, used)).toEqual(expected);
  });

  test('are never given out twice, whatever comes and goes', () => {
    const step = fc.record({ want: fc.constantFrom(100n, 250n, 500n, 1000n, 2000n, 3000n), leave: fc.nat(9) });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4 }), fc.array(step, { maxLength: 40 }), (gpus, steps) => {
        let holders: { gpuMilli: bigint; gpus: readonly number[] }[] = [];
        for (const { want, leave } of steps) {
          const given = assignGpus(want, gpuUse(gpus, holders));
          if (given !== undefined) holders.push({ gpuMilli: want, gpus: given });
          for (const used of gpuUse(gpus, holders)) expect(used <= 1000n).toBe(true);
          holders = holders.filter((_one, index) => index !== leave);
        }
      }),
    );
  });
});
