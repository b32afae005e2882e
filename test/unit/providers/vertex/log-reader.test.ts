import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Provider } from '../../../../providers/provider.ts';
import { type VertexWorld, vertexWorld } from '../../../support/vertex/world.ts';

let world: VertexWorld;
beforeEach(async () => {
  world = await vertexWorld({ delays: { queueMs: 10_000 } });
});
afterEach(() => world.close());

const read = async (key: string, from = 0, most = 1_000_000, provider: Provider = world.provider) =>
  Buffer.from(await provider.logs(key, from, most, world.signal)).toString('utf8');
const asked = () => world.simulator.http.asked.filter((path) => path === '/v2/entries:list').length;

const TEN = Array.from({ length: 10 }, (_, i) => [i, `line ${i}`] as const);
const ten = TEN.map(([, text]) => `${text}\n`).join('');

test('a log is not found without its job, empty before it began, and grows by bytes, over pages and after the end', async () => {
  await expect(read('m-nobody-1')).rejects.toMatchObject({ code: 'not_found' });
  const spec = world.spec({}, { runs: 30, lines: { 1: TEN } });
  await world.provider.submit(spec, world.signal);
  expect(await read(spec.key)).toBe('');
  // Seen now, and told once nothing older can come any more.
  world.clock.advance(14);
  expect(await read(spec.key)).toBe('');
  world.clock.advance(10);
  const first = await read(spec.key);
  expect(first).toBe(ten.slice(0, 5 * 7));
  world.clock.advance(100);
  expect(await read(spec.key, first.length, 10)).toBe(ten.slice(first.length, first.length + 10));
  expect(await read(spec.key, first.length + 10)).toBe(ten.slice(first.length + 10));
  expect(await read(spec.key, 3, 8, await world.open())).toBe(ten.slice(3, 11));
});

test('a log that is followed costs one request in five seconds, and asks for what is new alone', async () => {
  world.simulator.http.pageSize = 100;
  const spec = world.spec({}, { lines: { 1: [...TEN, [200, 'much later']] } });
  await world.provider.submit(spec, world.signal);
  world.clock.advance(100);
  await read(spec.key);
  world.clock.advance(10);
  expect(await read(spec.key)).toBe(ten);
  const before = asked();
  for (let second = 0; second < 20; second++) {
    world.clock.advance(1);
    expect(await read(spec.key, ten.length)).toBe('');
  }
  expect(asked() - before).toBe(4);
  world.clock.advance(200);
  await read(spec.key, ten.length);
  world.clock.advance(10);
  expect(await read(spec.key, ten.length)).toBe('much later\n');
});

test('what came before the end is told at the end, however soon after the last look that is', async () => {
  const spec = world.spec({}, { runs: 12, lines: { 1: [...TEN, [11, 'last']] } });
  await world.provider.submit(spec, world.signal);
  world.clock.advance(19);
  await read(spec.key);
  world.clock.advance(4);
  expect(await read(spec.key)).toBe(`${ten}last\n`);
});

test('lines of several nodes stand in the order of their times, the same for every reader at every time', async () => {
  const lines = {
    1: [
      [0, 'a'],
      [20, 'c'],
      [60, 'f'],
    ],
    2: [
      [1, 'b'],
      [30, 'd'],
    ],
    3: [[45, 'e']],
  } as const;
  const spec = world.spec({ nodes: 3 }, { runs: 100, lines });
  await world.provider.submit(spec, world.signal);
  let followed = '';
  for (let second = 0; second < 130; second += 3) {
    world.clock.advance(3);
    followed += await read(spec.key, Buffer.byteLength(followed));
  }
  const whole = '(rank 0) a\n(rank 1) b\n(rank 0) c\n(rank 1) d\n(rank 2) e\n(rank 0) f\n';
  expect(followed).toBe(whole);
  expect(await read(spec.key, 0, 1_000, await world.open())).toBe(whole);
});

test('a log that cannot be read now is told in Google’s words, and read on later from the same place', async () => {
  const spec = world.spec({}, { runs: 20, lines: { 1: TEN } });
  await world.provider.submit(spec, world.signal);
  world.clock.advance(100);
  expect(await read(spec.key, 0, 10)).toBe(ten.slice(0, 10));
  world.simulator.http.throttleMs = 2_000;
  await expect(read(spec.key, 10)).rejects.toMatchObject({ code: 'transient', retryAfterMs: 2_000 });
  world.simulator.http.throttleMs = undefined;
  const before = asked();
  expect(await read(spec.key, 10)).toBe(ten.slice(10));
  // The first of its four pages is not asked for again.
  expect(asked() - before).toBe(3);
});
