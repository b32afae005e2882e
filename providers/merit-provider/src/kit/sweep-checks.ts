import { JOBS_AT_ONCE } from '../test-backend.ts';
import { type Check, hold, shown } from './check.ts';
import { sameHandle } from './submit-checks.ts';
import type { World } from './world.ts';

const MORE_THAN_A_PAGE = 3;
const VANISHING = 6;

const orphanSweep: Check = {
  name: 'orphan-sweep',
  rule: 'a list by tag shows what nobody remembers, and by its key it is released',
  run: async (world) => {
    const first = await world.open();
    const spec = world.spec({ sleeps: true });
    await world.submit(spec, first);
    const sweeper = await world.open();
    await world.eventually('the list shows it', async () =>
      isLive(await sweeper.list(world.tag, world.signal), spec.key),
    );
    await world.release(spec.key, sweeper);
    hold(!isLive(await sweeper.list(world.tag, world.signal), spec.key), 'the list shows it as live after its release');
  },
};

function isLive(listed: readonly { readonly key: string; readonly live: boolean }[], key: string): boolean {
  return listed.some((owned) => owned.key === key && owned.live);
}

const restartFinds: Check = {
  name: 'restart-finds',
  rule: 'another instance finds a job by its key alone, with the same handle',
  run: async (world) => {
    const spec = world.spec({ sleeps: true });
    const handle = await world.submit(spec);
    const other = await world.open();
    const seen = await world.until(spec.key, 'running', other);
    hold(sameHandle(handle, seen.handle), `submit told ${shown(handle)}, another instance ${shown(seen.handle)}`);
    const again = await world.submit(spec, other);
    hold(sameHandle(handle, again), `another instance’s submit of the key tells ${shown(again)}`);
  },
};

const listOwnTag: Check = {
  name: 'list-own-tag',
  rule: 'a list by tag shows what carries that tag and nothing else',
  run: async (world) => {
    const mine = await world.running();
    const theirs = world.spec({ sleeps: true }, { tag: `${world.tag}-2` });
    await world.submit(theirs);
    await world.until(theirs.key, 'running');
    const listed = (await world.list()).map((owned) => owned.key);
    hold(listed.length === 1 && listed[0] === mine.key, `under its own tag it lists ${shown(listed)}`);
    const other = (await world.provider.list(theirs.tag, world.signal)).map((owned) => owned.key);
    hold(other.length === 1 && other[0] === theirs.key, `under the other tag it lists ${shown(other)}`);
    const none = await world.provider.list(`${world.tag}-nobody`, world.signal);
    hold(none.length === 0, `under a tag that nobody has it lists ${shown(none)}`);
  },
};

const foreignUntouched: Check = {
  name: 'foreign-untouched',
  rule: 'what is not Merit’s is neither listed, nor told as an attempt, nor ended, whatever its name',
  needs: ['plantForeign', 'live'],
  run: async (world) => {
    const { key } = world.spec({});
    await world.backend.plantForeign?.(key);
    const listed = await world.list();
    hold(listed.length === 0, `it lists ${shown(listed)}`);
    const seen = await world.observe(key).catch(() => undefined);
    hold(seen === undefined || seen.state === 'absent', `it tells the job of somebody else as ${shown(seen)}`);
    await world.provider.drain(key, world.clock.now() + 1_000, world.signal).catch(() => {});
    await world.release(key).catch(() => {});
    hold((await world.live(key)) === 1, 'it ended the job of somebody else');
  },
};

const paging: Check = {
  name: 'paging',
  rule: 'a list has all its pages, each job once',
  needs: ['pageSize'],
  run: async (world) => {
    const keys = await submitPages(world);
    const listed = (await world.list()).map((owned) => owned.key).sort();
    hold(
      listed.length === keys.length && keys.every((key, i) => listed[i] === key),
      `of ${keys.length} jobs it lists ${new Set(listed).size}, ${listed.length} entries in all`,
    );
  },
};

/** More jobs than one page of a list holds; their keys, sorted. */
async function submitPages(world: World): Promise<readonly string[]> {
  const count = (world.backend.pageSize ?? 0) + MORE_THAN_A_PAGE;
  const specs = Array.from({ length: count }, () => world.spec({}));
  for (let i = 0; i < count; i += JOBS_AT_ONCE)
    await Promise.all(specs.slice(i, i + JOBS_AT_ONCE).map((spec) => world.submit(spec)));
  return specs.map((spec) => spec.key).sort();
}

const partialList: Check = {
  name: 'partial-list',
  rule: 'a list that breaks off throws transient: what it lacks would be taken for gone',
  needs: ['pageSize', 'tearList'],
  run: async (world) => {
    await submitPages(world);
    world.backend.tearList?.();
    const { code } = await world.failure('list', world.list());
    hold(code === 'transient', `list throws ${code} where it has to throw transient`);
  },
};

const massDisappearance: Check = {
  name: 'mass-disappearance',
  rule: 'what the backend has forgotten is absent, not ended, and the rest is still told as it is',
  needs: ['forget'],
  run: async (world) => {
    const jobs = await Promise.all(Array.from({ length: VANISHING }, () => world.running()));
    const [kept, ...gone] = jobs.map((spec) => spec.key) as [string, ...string[]];
    for (const key of gone) await world.backend.forget?.(key);
    for (const key of gone) {
      const seen = await world.observe(key);
      hold(seen.state === 'absent', `what is gone is told as ${shown(seen)}`);
    }
    const listed = await world.list();
    const wrong = listed.filter((owned) => owned.live && owned.key !== kept);
    hold(wrong.length === 0, `what is gone is listed as live: ${shown(wrong)}`);
    hold(isLive(listed, kept), 'what is still there is not listed as live');
    await world.until(kept, 'running');
  },
};

const preemptionNotice: Check = {
  name: 'preemption-notice',
  rule: 'a job whose capacity the backend took back is told as preempted, not as failed',
  needs: ['preempt'],
  run: async (world) => {
    const { key } = await world.running();
    await world.backend.preempt?.(key);
    const seen = await world.until(key, 'ended');
    hold(seen.outcome === 'preempted', `it is told as ${seen.outcome}`);
    hold(!isLive(await world.list(), key), 'the list shows it as live');
    await world.release(key);
  },
};

export const SWEEP_CHECKS: readonly Check[] = [
  orphanSweep,
  restartFinds,
  listOwnTag,
  foreignUntouched,
  paging,
  partialList,
  massDisappearance,
  preemptionNotice,
];
