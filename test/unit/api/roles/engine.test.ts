import { expect, test } from 'vitest';
import { runEngine } from '../../../../api/roles/engine.ts';
import { OperatingError } from '../../../../core/operating-error.ts';
import type { Nominator } from '../../../../platform/nominator.ts';

test('who may not stand for a seat any more goes on with its doors, says why and what mends it, and tries again', async () => {
  const stop = new AbortController();
  const slept: number[] = [];
  const said: object[] = [];
  let tries = 0;
  const nominator: Nominator = {
    nominate: async () => {
      if (++tries === 3) stop.abort();
      throw new OperatingError('auth', 'never', 'holding a lease', { cause: 'forbidden', mend: 'give it the role' });
    },
    close: async () => {},
  };
  const log = { info: () => {}, warn: () => {}, error: (fields: object) => said.push(fields) };
  const clock = { now: () => 0, sleep: async (ms: number) => void slept.push(ms) };
  const loop = { name: 'never', run: () => Promise.reject(new Error('it does not lead')) };
  const seats = new Map([['engine', [loop]]] as const);
  const options = { engineUrl: 'postgres://nowhere', nominator, holder: 'a', clock, log, seats, onLead: () => {} };
  await runEngine(options, stop.signal);
  expect(tries).toBe(3);
  expect(said).toEqual(
    Array(3).fill({ seat: 'engine', error: expect.stringContaining('forbidden'), mend: 'give it the role' }),
  );
  expect(slept).toEqual([10_000, 10_000]);
});
