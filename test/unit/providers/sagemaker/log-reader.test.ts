import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Provider } from '../../../../providers/provider.ts';
import { type SageMakerWorld, sageMakerWorld } from '../../../support/sagemaker/world.ts';

let world: SageMakerWorld;
beforeEach(async () => {
  world = await sageMakerWorld({ delays: { startMs: 10_000 } });
});
afterEach(() => world.close());

const read = async (key: string, from = 0, most = 1_000_000, provider: Provider = world.provider) =>
  Buffer.from(await provider.logs(key, from, most, world.signal)).toString('utf8');
const asked = () => world.simulator.asked.length;

const TEN = Array.from({ length: 10 }, (_, i) => [i, `line ${i}`] as const);
const ten = TEN.map(([, text]) => `${text}\n`).join('');

test('a log is not found without its job, empty before it began, and grows by bytes, over pages and after the end', async () => {
  await expect(read('m-nobody-1')).rejects.toMatchObject({ code: 'not_found' });
  const spec = world.spec({}, { runs: 30, lines: { 1: TEN } });
  await world.provider.submit(spec, world.signal);
  expect(await read(spec.key)).toBe('');
  world.clock.advance(14);
  const first = await read(spec.key);
  expect(first).toBe(ten.slice(0, 5 * 7));
  expect(await read(spec.key, first.length)).toBe('');
  world.clock.advance(100);
  expect(await read(spec.key, first.length, 10)).toBe(ten.slice(first.length, first.length + 10));
  expect(await read(spec.key, first.length + 10)).toBe(ten.slice(first.length + 10));
  expect(await read(spec.key, 3, 8, await world.open())).toBe(ten.slice(3, 11));
});

test('a log that is read as it grows is read once: what was read is not asked for again', async () => {
  const spec = world.spec({}, { lines: { 1: TEN } });
  await world.provider.submit(spec, world.signal);
  world.clock.advance(100);
  await read(spec.key);
  const before = asked();
  for (let i = 0; i < 5; i++) expect(await read(spec.key, ten.length)).toBe('');
  expect(asked() - before).toBe(5);
  expect(await read(spec.key)).toBe(ten);
});

test('lines of several nodes stand in the order of their times, the same for every reader at every time', async () => {
  const lines = {
    1: [
      [0, 'a'],
      [20, 'c'],
      [21, 'e'],
      [60, 'g'],
    ],
    2: [
      [1, 'b'],
      [20, 'd'],
      [30, 'f'],
      [45, 'late'],
    ],
  } as const;
  const spec = world.spec({ nodes: 2 }, { runs: 100, lines });
  await world.provider.submit(spec, world.signal);
  const whole = '(rank 0) a\n(rank 1) b\n(rank 0) c\n(rank 1) d\n(rank 0) e\n(rank 1) f\n(rank 1) late\n(rank 0) g\n';
  let text = '';
  for (let second = 0; second < 120; second += 7) {
    text += await read(spec.key, text.length);
    expect(whole.startsWith(text), text).toBe(true);
    const fresh = await read(spec.key, 0, 1_000_000, await world.open());
    expect(fresh).toBe(text);
    world.clock.advance(7);
  }
  expect(text).toBe(whole);
});

test('lines of several nodes wait for those of 10 s before them, not for the end', async () => {
  const spec = world.spec({ nodes: 2 }, { lines: { 1: TEN.map(([, text], i) => [i * 5, text]), 2: [[0, 'begins']] } });
  await world.provider.submit(spec, world.signal);
  world.clock.advance(10 + 45);
  expect((await read(spec.key)).split('\n')).toHaveLength(1 + 8 + 1);
});

test('what a job writes on the machines that took the place of others follows', async () => {
  const spec = world.spec(
    { flavour: 'a10g-spot' },
    {
      runs: 50,
      lines: {
        1: [
          [0, 'begins'],
          [5, 'goes on'],
        ],
      },
    },
  );
  await world.provider.submit(spec, world.signal);
  world.clock.advance(12);
  expect(await read(spec.key)).toBe('begins\n');
  world.simulator.job(spec.key).interrupt(world.clock.now(), 20_000);
  world.clock.advance(60);
  expect(await read(spec.key, 7)).toBe('begins\ngoes on\n');
  expect(await read(spec.key, 0, 1_000, await world.open())).toBe('begins\nbegins\ngoes on\n');
});

test('a reader whose credentials have gone is told so, and reads on with new ones', async () => {
  const spec = world.spec({}, { lines: { 1: TEN } });
  await world.provider.submit(spec, world.signal);
  world.clock.advance(100);
  expect(await read(spec.key, 0, 7)).toBe('line 0\n');
  world.simulator.expireCredentials();
  await expect(read(spec.key, ten.length)).rejects.toMatchObject({ code: 'auth', effect: 'none' });
  await world.simulator.renewCredentials();
  expect(await read(spec.key, 7)).toBe(ten.slice(7));
});
