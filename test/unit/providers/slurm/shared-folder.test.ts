import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import {
  chmod,
  chown,
  link,
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  rename,
  rm,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { AttemptSpec } from '../../../../providers/provider.ts';
import { type End, RunFolder } from '../../../../providers/slurm/run-folder.ts';
import { stage } from '../../../../providers/slurm/staging.ts';

const OWNER = { uid: 'u', tag: 't', bookingId: 'x', attempt: '1', content: 'c' };
const NO_TRACES = { claim: undefined, exit: undefined, hasNotice: false, end: undefined };
const END: End = { outcome: 'failed', exitCode: 1, message: '', startedAtMs: 1, endedAtMs: 2 };
const SPEC: AttemptSpec = {
  key: 'm-x-1',
  tag: 't',
  bookingId: 'x',
  attempt: 1,
  entrypoint: 'true',
  workdir: undefined,
  env: { TOKEN: 'of-the-tenant' },
  resources: { gpuMilli: 0n, cpuMilli: 1000n, memoryBytes: 0n },
  flavour: 'a',
  leaseMs: 1000,
};
const isRoot = process.getuid?.() === 0;
/** Debian's `daemon`. */
const ANOTHER = 1;

let dir: string;
let shared: string;
let folder: RunFolder;
const at = (...names: readonly string[]) => join(folder.path, ...names);
const signal = new AbortController().signal;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'merit-slurm-'));
  shared = join(dir, 'shared');
  await mkdir(shared);
  await chmod(shared, 0o770);
  await writeFile(join(dir, 'secret'), '{"token":"of-the-installation"}');
  folder = new RunFolder(shared, 'm-x-1');
  await folder.own(OWNER);
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const stageOf = (user: string, atMs = 0, workdir?: string) =>
  stage({ shared, user }, folder, { ...SPEC, workdir }, atMs, signal);

test('a run of which nothing is written, or whose folder is gone, has left no traces; what is there is told', async () => {
  expect(await folder.traces()).toEqual(NO_TRACES);
  await writeFile(at('claim'), '{"by":"job","job":12}');
  await folder.giveNotice();
  await writeFile(at('exit'), '12\n3\ntold\n100\n101\n');
  await folder.writeEnd(END);
  const exit = await folder.exit();
  expect(exit).toMatchObject({ job: 12, code: 3, before: 'told' });
  expect(await folder.traces()).toEqual({ claim: { by: 'job', job: 12 }, exit, hasNotice: true, end: END });
  expect(await new RunFolder(shared, 'm-x-2').traces()).toEqual(NO_TRACES);
});

describe('what a job puts into a place of Merit’s', () => {
  test('is not followed where it is a link', async () => {
    for (const name of ['log', 'slurm.log', 'exit', 'claim', 'notice', 'end'])
      await symlink('../../../secret', at(name));
    await expect(folder.readLog(0, 1000)).rejects.toMatchObject({ code: 'invalid' });
    expect(await folder.tail('slurm.log', 100)).toBe('');
    expect(await folder.traces()).toEqual(NO_TRACES);
    expect(await folder.writeEnd(END)).toEqual(END);
    expect(await folder.forbid()).toBe(false);
    expect(await readFile(join(dir, 'secret'), 'utf8')).toContain('installation');
  });

  test('is not waited for where it is a pipe, nor read where it is a folder or too long', async () => {
    for (const name of ['log', 'exit', 'claim', 'notice', 'end']) execFileSync('mkfifo', [at(name)]);
    await expect(folder.readLog(0, 1000)).rejects.toMatchObject({ code: 'invalid' });
    expect(await folder.traces()).toEqual(NO_TRACES);
    for (const name of ['exit', 'claim']) await unlink(at(name));
    await mkdir(at('exit'));
    await writeFile(at('claim'), `{"by":"job","job":12${' '.repeat(70_000)}}`);
    expect([await folder.claim(), await folder.exit()]).toEqual([undefined, undefined]);
  });

  test('counts as a claim only where it is one', async () => {
    for (const text of ['null', '7', '{"by":"job"}', '{"by":', '{"by":"job","job":"12"}']) {
      await writeFile(at('claim'), text);
      expect(await folder.claim()).toBeUndefined();
    }
    await writeFile(at('claim'), '{"by":"job","job":12}');
    expect(await folder.claim()).toEqual({ by: 'job', job: 12 });
  });

  test.runIf(isRoot)('is no word of Merit’s: an end, a release, whose it is', async () => {
    const words = { end: END, claim: { by: 'release' }, job: { id: 9 }, attempt: OWNER };
    for (const [name, word] of Object.entries(words)) {
      await writeFile(at(name), JSON.stringify(word));
      await chown(at(name), ANOTHER, ANOTHER);
    }
    const read = [folder.end(), folder.claim(), folder.jobId(), folder.owner()];
    expect(await Promise.all(read)).toEqual([undefined, undefined, undefined, undefined]);
  });

  test('ended no earlier than it wrote so', async () => {
    await writeFile(at('exit'), '12\n0\nnothing\n100\n101\n');
    const wroteAtMs = (await lstat(at('exit'))).ctimeMs;
    expect((await folder.exit())?.endedAtMs).toBe(Math.floor(wroteAtMs / 1000) * 1000);
  });
});

describe('a folder of Merit’s', () => {
  test('that is a link is none: nothing is read or written through it', async () => {
    const other = new RunFolder(shared, 'm-x-3');
    await other.own(OWNER);
    await rename(folder.path, join(dir, 'elsewhere'));
    await symlink(join(dir, 'elsewhere'), folder.path);
    expect(await folder.owner()).toBeUndefined();
    await expect(folder.own(OWNER)).rejects.toMatchObject({ code: 'invalid' });
    await expect(folder.forbid()).rejects.toMatchObject({ code: 'transient' });
    await rename(join(shared, 'runs'), join(dir, 'runs'));
    await symlink(join(dir, 'runs'), join(shared, 'runs'));
    expect(await other.owner()).toBeUndefined();
    await expect(new RunFolder(shared, 'm-x-2').own(OWNER)).rejects.toMatchObject({ code: 'invalid' });
    expect(existsSync(join(dir, 'runs', 'm-x-2', 'attempt'))).toBe(false);
  });

  test.runIf(isRoot)('that a job made before is none', async () => {
    const next = new RunFolder(shared, 'm-x-2');
    await mkdir(next.path);
    await chown(next.path, ANOTHER, ANOTHER);
    await expect(next.own(OWNER)).rejects.toMatchObject({ code: 'invalid' });
  });

  test('lets jobs write into their own runs alone, and replace nothing there that is Merit’s', async () => {
    const modeOf = async (path: string) => (await lstat(path)).mode & 0o7777;
    expect(await modeOf(join(shared, 'runs'))).toBe(0o750);
    expect(await modeOf(folder.path)).toBe(0o1770);
    expect(await modeOf(at('attempt'))).toBe(0o640);
  });
});

describe('what a job starts from', () => {
  test('is read by the jobs’ user, which may be Merit’s own, and by nobody else', async () => {
    expect((await lstat((await stageOf('somebody')).node)).mode & 0o777).toBe(0o640);
    await folder.clean();
    expect((await lstat((await stageOf(userInfo().username)).node)).mode & 0o777).toBe(0o600);
  });

  test('is never taken from what somebody put in its place', async () => {
    const { node } = await stageOf('somebody');
    await rename(node, join(dir, 'same'));
    await symlink(join(dir, 'same'), node);
    await expect(stageOf('somebody')).rejects.toMatchObject({ code: 'invalid' });
    await unlink(node);
    await writeFile(node, 'true');
    await expect(stageOf('somebody')).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringContaining(node),
    });
  });

  test('is as old as its last use', async () => {
    const workdir = join(dir, 'workdir');
    await mkdir(workdir);
    await writeFile(join(workdir, 'run.sh'), 'true');
    for (const atMs of [1_000_000, 2_000_000]) {
      const { code } = await stageOf('somebody', atMs, workdir);
      expect((await lstat(code ?? '')).mtimeMs).toBe(atMs);
    }
  });

  test('is gone after its release, with where the command ran; how it ended and what it printed stays', async () => {
    const { node } = await stageOf('somebody');
    await mkdir(at('work', 'a', 'b'), { recursive: true });
    await writeFile(at('work', 'a', 'b', 'c'), '');
    await mkdir(join(dir, 'kept'));
    await writeFile(join(dir, 'kept', 'file'), '');
    await symlink(join(dir, 'kept'), at('work', 'a', 'link'));
    await link(join(dir, 'secret'), at('work', 'a', 'hard'));
    await writeFile(at('log'), 'said');
    await folder.writeEnd(END);
    await folder.clean();
    expect([existsSync(node), existsSync(at('work'))]).toEqual([false, false]);
    expect(existsSync(join(dir, 'kept', 'file'))).toBe(true);
    expect(await folder.end()).toEqual(END);
    expect(Buffer.from((await folder.readLog(0, 100)) ?? []).toString()).toBe('said');
  });
});
