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
    away: () => undefined,
    close: async () => {},
  };
  const faults: unknown[] = [];
  const log = { info: () => {}, warn: () => {}, error: (fields: object) => said.push(fields) };
  const clock = { now: () => 0, sleep: async (ms: number) => void slept.push(ms) };
  const loop = { name: 'never', run: () => Promise.reject(new Error('it does not lead')) };
  const seats = new Map([['engine', [loop]]] as const);
  const onFault = (seat: string, why: string | undefined) => faults.push([seat, why]);
  const options = {
    engineUrl: 'postgres://nowhere',
    nominator,
    holder: 'a',
    clock,
    log,
    seats,
    onLead: () => {},
    onFault,
  };
  await runEngine(options, stop.signal);
  expect(tries).toBe(3);
  expect(said).toEqual(
    Array(3).fill({ seat: 'engine', error: expect.stringContaining('forbidden'), mend: 'give it the role' }),
  );
  expect(slept).toEqual([10_000, 10_000]);
  expect(faults).toEqual(Array(3).fill(['engine', expect.stringMatching(/forbidden.*: give it the role/)]));
});

test('while whoever nominates is away a server says so once, and once when it is back, and asks on', async () => {
  const stop = new AbortController();
  const said: string[] = [];
  const faults: (string | undefined)[] = [];
  const answers = [undefined, 'no answer', 'no answer', undefined, 'no answer'];
  let tries = -1;
  const nominator: Nominator = {
    nominate: async () => {
      if (++tries === answers.length - 1) stop.abort();
      return undefined;
    },
    away: () => answers[tries],
    close: async () => {},
  };
  const say = (_fields: object, message: string) => void said.push(message);
  await runEngine(
    {
      engineUrl: 'postgres://nowhere',
      nominator,
      holder: 'a',
      clock: { now: () => 0, sleep: async () => {} },
      log: { info: say, warn: say, error: say },
      seats: new Map([['engine', []]] as const),
      onLead: () => {},
      onFault: (_seat, why) => void faults.push(why),
    },
    stop.signal,
  );
  const away = 'whoever nominates is away; it is asked again';
  expect(said).toEqual([away, 'whoever nominates answers again', away]);
  expect(faults).toEqual(answers);
});
