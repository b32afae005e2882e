import { expect, test } from 'vitest';
import { sweepLoop } from '../../../../api/roles/sweeps.ts';
import { StaleLeader } from '../../../../platform/postgres.ts';

function world(sweeps: Readonly<Record<string, () => Promise<number>>>, passes: number) {
  const stop = new AbortController();
  const warned: object[] = [];
  let slept = 0;
  const clock = {
    now: () => 0,
    sleep: async () => {
      if (++slept === passes) stop.abort();
    },
  };
  const log = { info: () => {}, warn: (fields: object) => void warned.push(fields), error: () => {} };
  return { run: sweepLoop({ clock, log }, sweeps).run(1n, stop.signal), warned };
}

test('each sweep goes on until nothing is left, and again after a while', async () => {
  const rows = { a: 25, b: 0 };
  const asked: string[] = [];
  const sweep = (name: 'a' | 'b') => async () => {
    asked.push(name);
    const gone = Math.min(10, rows[name]);
    rows[name] -= gone;
    return gone;
  };
  await world({ a: sweep('a'), b: sweep('b') }, 2).run;
  expect(asked.join('')).toBe('aaaabab');
  expect(rows.a).toBe(0);
});

test('one that never ends is left for the next time, so that others have their turn', async () => {
  let endless = 0;
  let others = 0;
  await world({ endless: async () => ++endless, others: async () => others++ * 0 }, 1).run;
  expect(endless).toBe(100);
  expect(others).toBe(1);
});

test('one that fails is told and holds no other up; a former leader ends', async () => {
  let others = 0;
  const failing = async () => {
    throw new Error('no disk');
  };
  const { run, warned } = world({ failing, others: async () => others++ * 0 }, 2);
  await run;
  expect(others).toBe(2);
  expect(warned).toMatchObject([{ sweep: 'failing' }, { sweep: 'failing' }]);
  const stale = async () => {
    throw new StaleLeader('another leads');
  };
  await expect(world({ stale }, 1).run).rejects.toBeInstanceOf(StaleLeader);
});
