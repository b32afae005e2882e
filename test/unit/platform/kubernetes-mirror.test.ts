import { expect, test } from 'vitest';
import type { Clock } from '../../../platform/clock.ts';
import type { KubernetesApi, KubernetesCall } from '../../../platform/kubernetes/api.ts';
import { listAll } from '../../../platform/kubernetes/list.ts';
import { Mirror } from '../../../platform/kubernetes/mirror.ts';
import { KubernetesRefusal } from '../../../platform/kubernetes/refusal.ts';

interface Sleeper {
  readonly dueMs: number;
  wake(): void;
}

/** Time that moves when a test says so. */
class HandClock implements Clock {
  nowMs = 0;
  readonly #sleepers = new Set<Sleeper>();

  now(): number {
    return this.nowMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const sleeper = {
        dueMs: this.nowMs + ms,
        wake: () => {
          this.#sleepers.delete(sleeper);
          resolve();
        },
      };
      this.#sleepers.add(sleeper);
      signal?.addEventListener('abort', sleeper.wake, { once: true });
    });
  }

  async move(ms: number): Promise<void> {
    this.nowMs += ms;
    for (const sleeper of [...this.#sleepers]) if (sleeper.dueMs <= this.nowMs) sleeper.wake();
    await settle();
  }
}

const settle = async () => {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
};

/** A server whose list is `items`, and whose watches say what a test says. */
class FakeApi {
  items: string[] = ['a'];
  lists = 0;
  watches = 0;
  /** A watch is taken when this is. */
  taken: Promise<unknown> = Promise.resolve();
  failure: Error | undefined;
  #say: ((line: string | Error | undefined) => void) | undefined;

  get api(): KubernetesApi {
    return {
      json: (call: KubernetesCall) => this.#list(call),
      lines: (call: KubernetesCall, begun: () => void) => this.#watch(call, begun),
    } as never;
  }

  /** An event, a failure, or (undefined) the end in its time. */
  async say(line: object | Error | undefined): Promise<void> {
    this.#say?.(line === undefined || line instanceof Error ? line : JSON.stringify(line));
    await settle();
  }

  async #list(_call: KubernetesCall) {
    if (this.failure !== undefined) throw this.failure;
    this.lists++;
    return {
      metadata: { resourceVersion: String(this.lists) },
      items: this.items.map((name) => ({ metadata: { name, labels: { of: name } } })),
    };
  }

  async *#watch({ signal }: KubernetesCall, begun: () => void): AsyncGenerator<string> {
    this.watches++;
    await this.taken;
    begun();
    for (;;) {
      const line = await new Promise<string | Error | undefined>((resolve, reject) => {
        this.#say = resolve;
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      });
      if (line === undefined) return;
      if (line instanceof Error) throw line;
      yield line;
    }
  }
}

const object = (name: string) => ({ metadata: { name, resourceVersion: '9', labels: { of: name } } });

async function begun() {
  const [fake, clock] = [new FakeApi(), new HandClock()];
  const mirror = new Mirror(fake.api, '/x', {}, clock, { silentMs: 90_000, idleMs: 300_000 });
  expect(mirror.fresh()).toBeUndefined();
  await settle();
  return { fake, clock, mirror, names: () => mirror.fresh() && [...(mirror.fresh()?.keys() ?? [])] };
}

test('it is a list and its changes, and wakes who waits for one', async () => {
  const { fake, clock, mirror, names } = await begun();
  expect(names()).toEqual(['a']);
  let woken = false;
  void mirror.changed(60_000, AbortSignal.timeout(60_000)).then(() => {
    woken = true;
  });
  await fake.say({ type: 'ADDED', object: object('b') });
  expect(names()).toEqual(['a', 'b']);
  expect(woken).toBe(true);
  expect(mirror.by('of', 'b')).toHaveLength(1);
  await fake.say({ type: 'DELETED', object: object('b') });
  expect(mirror.by('of', 'b')).toEqual([]);
  // Ended by the server in its time: the watch goes on without a new list.
  await clock.move(10_000);
  await fake.say(undefined);
  expect([fake.lists, fake.watches, names()]).toEqual([1, 2, ['a']]);
  mirror.close();
  expect(mirror.fresh()).toBeUndefined();
});

test.each([
  ['cut off', new Error('socket')],
  ['out of date', { type: 'ERROR', object: { kind: 'Status', code: 410, message: 'too old', metadata: {} } }],
])('a watch that is %s is not fresh until a new list has come', async (_what, end) => {
  const { fake, clock, mirror, names } = await begun();
  fake.items = ['c'];
  await fake.say(end);
  expect(names()).toBeUndefined();
  await clock.move(1_000);
  expect([fake.lists, names()]).toEqual([2, ['c']]);
  mirror.close();
});

test('a watch that says nothing for too long is begun anew, and a bookmark is something', async () => {
  const { fake, clock, mirror, names } = await begun();
  for (let i = 0; i < 4; i++) {
    await clock.move(60_000);
    await fake.say({ type: 'BOOKMARK', object: object('') });
    expect(names()).toEqual(['a']);
  }
  expect(fake.lists).toBe(1);
  await clock.move(91_000);
  expect(names()).toBeUndefined();
  for (let i = 0; i < 4; i++) await clock.move(22_500);
  expect(fake.lists).toBe(2);
  expect(names()).toEqual(['a']);
  mirror.close();
});

test('a server that is away is asked less and less often, and a mirror that nobody asks any more ends', async () => {
  const { fake, clock, mirror } = await begun();
  fake.failure = new Error('away');
  await fake.say(new Error('socket'));
  for (let i = 0; i < 100; i++) await clock.move(1_000);
  fake.failure = undefined;
  await clock.move(30_000);
  expect(fake.lists).toBe(2);
  for (let i = 0; i < 10; i++) {
    await clock.move(60_000);
    await fake.say({ type: 'BOOKMARK', object: object('') });
  }
  const { watches } = fake;
  for (let i = 0; i < 10; i++) await clock.move(60_000);
  expect(fake.watches).toBe(watches);
  mirror.fresh();
  await settle();
  expect(fake.watches).toBe(watches + 1);
  mirror.close();
});

test('a list has all its pages, is begun anew where they went out of date, and is none where one lacks its items', async () => {
  const pages = (answers: readonly (object | Error)[]) => {
    const left = [...answers];
    const asked: unknown[] = [];
    const json = async ({ query }: KubernetesCall) => {
      asked.push(query?.continue);
      const answer = left.shift();
      if (answer instanceof Error) throw answer;
      return answer;
    };
    return { asked, list: () => listAll({ json } as never, '/x', {}, AbortSignal.timeout(60_000)) };
  };
  const first = { metadata: { continue: 'more', resourceVersion: '1' }, items: [object('a')] };
  const last = { metadata: { resourceVersion: '1' }, items: [object('b')] };
  const gone = new KubernetesRefusal(410, '{"kind":"Status","reason":"Expired"}', undefined);
  const torn = pages([first, gone, first, last]);
  expect((await torn.list()).items.map(({ metadata }) => metadata.name)).toEqual(['a', 'b']);
  expect(torn.asked).toEqual([undefined, 'more', undefined, 'more']);
  await expect(pages([first, gone, gone, gone]).list()).rejects.toBe(gone);
  await expect(pages([first, {}]).list()).rejects.toThrow('no items');
});

test('a server that ends each watch at once is asked again after a rest', async () => {
  const { fake, clock, mirror } = await begun();
  for (const watches of [1, 2, 3]) {
    await fake.say(undefined);
    expect(fake.watches).toBe(watches);
    await clock.move(500);
    expect(fake.watches).toBe(watches + 1);
  }
  expect(fake.lists).toBe(1);
  mirror.close();
});

test('a list is not fresh before the watch that tells what changes after it was taken', async () => {
  const [fake, clock] = [new FakeApi(), new HandClock()];
  let take = () => {};
  fake.taken = new Promise<void>((resolve) => {
    take = resolve;
  });
  const mirror = new Mirror(fake.api, '/x', {}, clock);
  mirror.fresh();
  await settle();
  expect([fake.lists, fake.watches, mirror.fresh()]).toEqual([1, 1, undefined]);
  take();
  await settle();
  expect(mirror.fresh()?.size).toBe(1);
  mirror.close();
});
