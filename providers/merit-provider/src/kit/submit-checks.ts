import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Handle } from '../contract.ts';
import { type Check, hold, shown } from './check.ts';
import { HOSTILE_TEXT } from './hostile.ts';
import type { World } from './world.ts';

const AT_ONCE = 8;
const CLOCK_SLACK_MS = 600_000;

export function sameHandle(a: Handle, b: Handle): boolean {
  // A uid that one look has and the other lacks says nothing.
  return a.provider === b.provider && a.id === b.id && (a.uid === b.uid || a.uid === undefined || b.uid === undefined);
}

export async function holdOne(world: World, key: string): Promise<void> {
  const live = await world.live(key);
  hold(live === 1, `${live} live things have the key instead of one`);
  const listed = (await world.list()).filter((owned) => owned.key === key);
  hold(listed.length === 1, `the list shows the key ${listed.length} times`);
}

const idempotentSubmit: Check = {
  name: 'idempotent-submit',
  rule: 'a second submit of a key returns the first one’s handle and makes nothing, though its environment may have changed',
  run: async (world) => {
    const spec = world.spec({ sleeps: true });
    const first = await world.submit(spec);
    await world.until(spec.key, 'running');
    const second = await world.submit({ ...spec, env: { ...spec.env, MERIT_CHECKPOINT: 'newer' } });
    hold(sameHandle(first, second), `the first handle is ${shown(first)}, the second ${shown(second)}`);
    await holdOne(world, spec.key);
  },
};

const duplicateInParallel: Check = {
  name: 'duplicate-in-parallel',
  rule: 'of many submits of a key at once one makes something, and all return its handle',
  run: async (world) => {
    const spec = world.spec({ sleeps: true });
    const other = await world.open();
    const asked = Array.from({ length: AT_ONCE }, (_, i) => world.submit(spec, i % 2 === 0 ? world.provider : other));
    const [first, ...rest] = await Promise.all(asked);
    for (const handle of rest)
      hold(sameHandle(first as Handle, handle), `one handle is ${shown(first)}, another ${shown(handle)}`);
    await world.until(spec.key, 'running');
    await holdOne(world, spec.key);
  },
};

const sameKeyOtherContent: Check = {
  name: 'same-key-other-content',
  rule: 'a key that another attempt holds is refused as invalid, and that attempt goes on',
  run: async (world) => {
    const spec = await world.running();
    for (const other of [{ bookingId: `${spec.bookingId}-other` }, { attempt: 2 }, { tag: `${world.tag}-other` }])
      await world.refused(
        `submit with another ${Object.keys(other)[0]}`,
        'invalid',
        world.submit({ ...spec, ...other }),
      );
    await holdOne(world, spec.key);
  },
};

const invalidRefused: Check = {
  name: 'invalid-refused',
  rule: 'keys that are none, amounts below zero, and flavours that the pool does not have are refused as invalid',
  run: async (world) => {
    for (const key of ['', '../../etc/passwd', 'a/b', 'a b', 'a\nb', 'x'.repeat(129)])
      await world.refused(`submit with the key ${shown(key)}`, 'invalid', world.submit({ ...world.spec({}), key }));
    const spec = world.spec({});
    const below = { ...spec.resources, cpuMilli: -1n };
    await world.refused('submit of -1 CPU', 'invalid', world.submit({ ...spec, resources: below }));
    const flavour = 'merit-kit-no-such-flavour';
    await world.refused('submit of a flavour that is none', 'invalid', world.submit({ ...spec, flavour }));
    const listed = await world.list();
    hold(listed.length === 0, `what was refused is listed: ${shown(listed)}`);
  },
};

const workdirTravels: Check = {
  name: 'workdir-travels',
  rule: 'a job finds the files of its work folder as they were, and may run what could be run',
  run: async (world) => {
    world.needLogs();
    const workdir = await world.tempFolder();
    const files = [
      { path: 'sub/grün 1.txt', content: 'grün\u0000\u0001€', mode: 0o644, printed: 'grün\u0000\u0001€' },
      { path: 'run.sh', content: '#!/bin/sh\n', mode: 0o755, printed: '#!/bin/sh\n+x' },
    ];
    await mkdir(join(workdir, 'sub'));
    for (const { path, content, mode } of files) {
      await writeFile(join(workdir, path), content);
      await chmod(join(workdir, path), mode);
    }
    for (const { path, printed } of files) {
      const spec = world.spec({ file: path }, { workdir });
      await world.submit(spec);
      const { outcome } = await world.until(spec.key, 'ended');
      const log = await world.log(spec.key);
      hold(
        log.includes(printed),
        `the job that reads ${path} ended as ${outcome} and printed ${shown(log.toString())}`,
      );
    }
  },
};

const hostileStrings: Check = {
  name: 'hostile-strings',
  rule: 'the environment reaches the job as it is: quotes, substitutions, line ends, any Unicode',
  run: async (world) => {
    world.needLogs();
    const spec = world.spec({ text: HOSTILE_TEXT });
    await world.submit(spec);
    await world.until(spec.key, 'ended');
    const log = await world.log(spec.key);
    hold(log.includes(HOSTILE_TEXT), `of ${shown(HOSTILE_TEXT)} came ${shown(log.toString())}`);
  },
};

const exitCodes: Check = {
  name: 'exit-codes',
  rule: 'exit code 0 is succeeded, any other failed, and times are milliseconds since the epoch',
  run: async (world) => {
    for (const exit of [0, 3]) {
      const spec = world.spec({ exit });
      await world.submit(spec);
      const seen = await world.until(spec.key, 'ended');
      const outcome = exit === 0 ? 'succeeded' : 'failed';
      hold(seen.outcome === outcome, `exit code ${exit} is told as ${seen.outcome}`);
      hold(seen.exitCode === undefined || seen.exitCode === exit, `exit code ${exit} is told as ${seen.exitCode}`);
      for (const atMs of [seen.startedAtMs, seen.endedAtMs])
        hold(
          atMs === undefined || (Number.isSafeInteger(atMs) && Math.abs(atMs - world.clock.now()) < CLOCK_SLACK_MS),
          `a time is told as ${shown(atMs)}, it is ${world.clock.now()} now`,
        );
    }
  },
};

export const SUBMIT_CHECKS: readonly Check[] = [
  idempotentSubmit,
  duplicateInParallel,
  sameKeyOtherContent,
  invalidRefused,
  workdirTravels,
  hostileStrings,
  exitCodes,
];
