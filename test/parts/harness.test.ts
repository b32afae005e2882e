import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { processStart } from '../../platform/processes.ts';
import { keepInCache } from './harness/cache.ts';
import { openHarness } from './harness/harness.ts';
import type { Part } from './harness/part.ts';
import { partMissing } from './harness/use.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'merit-harness-'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(dir, { recursive: true });
});

const silent = () => {};

describe('what is built', () => {
  test('is built once by two that want it at once, and not again', async () => {
    let builds = 0;
    const build = async (place: string) => {
      builds++;
      await sleep(300);
      writeFileSync(join(place, 'thing'), '');
    };
    const folder = join(dir, 'thing-1');
    await Promise.all([keepInCache(folder, silent, build), keepInCache(folder, silent, build)]);
    await keepInCache(folder, silent, build);
    expect(builds).toBe(1);
    expect(readdirSync(folder)).toEqual(['thing']);
  });

  test('is there whole or not at all', async () => {
    const folder = join(dir, 'thing-1');
    const failing = keepInCache(folder, silent, async (place) => {
      writeFileSync(join(place, 'half'), '');
      throw new Error('interrupted');
    });
    await expect(failing).rejects.toThrow('interrupted');
    expect(readdirSync(dir)).toEqual(['thing-1.lock']);
    await keepInCache(folder, silent, async (place) => writeFileSync(join(place, 'whole'), ''));
    expect(readdirSync(folder)).toEqual(['whole']);
  });
});

describe('what is started', () => {
  const sleeper = (name: string, needs: readonly Part[] = []): Part<number> => ({
    name,
    needs,
    missing: () => undefined,
    start: (place) => place.run('sleep', ['600'], { ready: async () => true }),
  });

  test('ends with the run: what was shared, what a test had for itself, and what they need', async () => {
    const harness = await openHarness();
    const below = sleeper('below');
    const above = sleeper('above', [below]);
    const shared = await Promise.all([harness.shared(above), harness.shared(below), harness.shared(above)]);
    const own = await harness.own(above);
    const pids = [...shared, own.facts] as number[];
    expect(new Set(pids).size).toBe(3);
    expect(pids.map(processStart)).not.toContain(undefined);
    await own.stop();
    expect(processStart(own.facts as number)).toBeUndefined();
    expect(processStart(shared[1] as number)).toBeDefined();
    await harness.close();
    expect(pids.map(processStart)).toEqual([undefined, undefined, undefined, undefined]);
    expect(existsSync(harness.dir)).toBe(false);
  });

  test('ends also where the run is killed', async () => {
    const script = fileURLToPath(new URL('./harness/harness-child.ts', import.meta.url));
    const child = spawn(process.execPath, ['--conditions=merit-source', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [said] = (await once(child.stdout, 'data')) as [Buffer];
    const [pid = '', folder = ''] = said.toString().trim().split(' ');
    expect(processStart(Number(pid))).toBeDefined();
    child.kill('SIGKILL');
    while (processStart(Number(pid)) !== undefined) await sleep(50);
    // What ends beside it may still write there.
    rmSync(folder, { recursive: true, maxRetries: 20, retryDelay: 50 });
  });

  test('says its last words where it ends before it is ready', async () => {
    const harness = await openHarness();
    const broken: Part = {
      ...sleeper('broken'),
      start: (place) => place.run('sh', ['-c', 'echo no such flag; exit 3'], { ready: async () => false }),
    };
    await expect(harness.shared(broken)).rejects.toThrow(/sh ended \(3\) before it was ready:\nno such flag/);
    await harness.close();
  });
});

describe('a part that is missing', () => {
  const missing: Part = {
    name: 'missing',
    needs: [],
    missing: () => 'there is no such thing: apt-get install it',
    start: async () => undefined,
  };

  test('is a reason to skip, also for what needs it', () => {
    vi.stubEnv('MERIT_REQUIRE_PARTS', '');
    expect(partMissing({ ...missing, needs: [missing], missing: () => undefined })).toContain('apt-get install');
  });

  test('is a failure where every part is required', () => {
    vi.stubEnv('MERIT_REQUIRE_PARTS', '1');
    expect(() => partMissing(missing)).toThrow('apt-get install');
  });
});
