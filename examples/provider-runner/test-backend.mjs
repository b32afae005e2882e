import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defineTestBackend } from 'merit-provider';
import { FaultProxy } from 'merit-provider/kit';
import { Runner } from './runner.mjs';

const FLAVOUR = { flavour: 'default', resource: 'cpu', spot: true, currency: 'EUR', centsPerUnitHour: 3n };
const PAGE_SIZE = 20;

/** A runner of the check's own that runs real processes, behind a proxy that shows a network's faults. */
export default defineTestBackend({
  time: 'real',
  start: async ({ stateDir }) => {
    const token = randomBytes(16).toString('hex');
    const tokenFile = join(stateDir, 'token');
    await writeFile(tokenFile, token, { mode: 0o600 });
    const runner = new Runner({ token, cpus: 16 });
    const url = await runner.listen();
    const proxy = await FaultProxy.start({ url, tokenFile }, 'url');
    const { config } = proxy;
    const run = { flavour: 'default', env: {}, files: [], gpus: 0, cpuMilli: 0, maxMs: 600_000 };
    const faults = runner.faults;
    return {
      config,
      flavour: FLAVOUR,
      pageSize: PAGE_SIZE,
      live: (key) => (runner.jobs.get(key)?.state === 'running' ? 1 : 0),
      loseReply: () => proxy.loseReply(),
      stallReply: () => proxy.stallReply(),
      tearReply: () => proxy.tearReply(),
      hang: () => proxy.hang(),
      goAway: () => proxy.goAway(),
      refuse: (text) => proxy.refuse(text),
      throttle: (ms) => proxy.throttle(ms),
      expireAuth: () => {
        runner.token = randomBytes(16).toString('hex');
      },
      denyCapacity: () => {
        faults.full = true;
      },
      tearList: () => {
        faults.brokenLists = true;
      },
      showStatus: (word) => {
        faults.word = word;
      },
      skewClock: (ms) => {
        faults.skewMs = ms;
      },
      heal: async () => {
        Object.assign(faults, { full: false, brokenLists: false, word: undefined, skewMs: 0 });
        await writeFile(tokenFile, runner.token);
        await proxy.heal();
      },
      plantForeign: (name) => runner.submit({ ...run, name, command: 'exec sleep 600' }),
      preempt: (key) => runner.reclaim(key),
      forget: (key) => runner.forget(key),
      close: async () => {
        await proxy.close();
        await runner.close();
      },
    };
  },
});
