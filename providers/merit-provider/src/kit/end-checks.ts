import type { Usage } from '../contract.ts';
import { type Check, hold, NotExercised, shown } from './check.ts';
import { holdClean, longHostileText } from './hostile.ts';
import { watchTimers } from './own-timers.ts';
import type { World } from './world.ts';

const NEVER = 'never-submitted';
const QUEUE_MS = 60_000;
const NOTICE_MS = 30_000;
const SKEW_MS = 3_600_000;
const SLACK_MS = 600_000;
const LET_GO_LIMIT_REAL_MS = 5_000;
const LET_GO_LOOK_REAL_MS = 50;

const releaseUnknown: Check = {
  name: 'release-unknown',
  rule: 'a key that was never submitted is absent; its drain and release are silent, its log is not found',
  run: async (world) => {
    const { key } = world.spec({}, { bookingId: NEVER });
    const seen = await world.observe(key);
    hold(seen.state === 'absent', `it is told as ${shown(seen)}`);
    await silently('drain', world.provider.drain(key, world.clock.now() + NOTICE_MS, world.signal));
    await silently('release', world.release(key));
    if (!world.provider.capabilities.logs) return;
    await world.refused('logs', 'not_found', world.provider.logs(key, 0, 100, world.signal));
  },
};

async function silently(verb: string, work: Promise<void>): Promise<void> {
  await work.catch((error: unknown) => hold(false, `${verb} throws ${String(error)} where there is nothing to do`));
}

const releaseEnded: Check = {
  name: 'release-ended',
  rule: 'drain and release of what has ended are silent, and its outcome stays what it was',
  run: async (world) => {
    const spec = world.spec({ exit: 3 });
    await world.submit(spec);
    await world.until(spec.key, 'ended');
    await silently('drain', world.provider.drain(spec.key, world.clock.now() + NOTICE_MS, world.signal));
    await silently('release', world.release(spec.key));
    await silently('a second release', world.release(spec.key));
    const seen = await world.observe(spec.key);
    const same = seen.state === 'absent' || (seen.state === 'ended' && seen.outcome === 'failed');
    hold(same, `a failed job is told as ${shown(seen)} after its release`);
  },
};

const releaseWaits: Check = {
  name: 'release-waits',
  rule: 'release returns once nothing of the job runs, even of one that does not want to end',
  run: async (world) => {
    const { key } = await world.running({ stubborn: true, text: 'ready' });
    await printed(world, key, 'ready');
    await world.release(key);
    const live = await world.live(key);
    hold(live === 0, `${live} live things have the key after its release`);
    const seen = await world.observe(key);
    hold(seen.state === 'ended' || seen.state === 'absent', `it is told as ${shown(seen)} after its release`);
  },
};

/** A job has printed this, where it can be read. */
async function printed(world: World, key: string, text: string): Promise<void> {
  if (!world.provider.capabilities.logs) return world.clock.sleep(world.isReal ? 1_000 : 0);
  await world.eventually(`it prints ${text}`, async () => (await world.log(key)).includes(text));
}

const releaseQueued: Check = {
  name: 'release-queued',
  rule: 'what is released before it runs never does',
  needs: ['slowStart'],
  run: async (world) => {
    const spec = world.spec({ sleeps: true });
    world.backend.slowStart?.(QUEUE_MS);
    await world.submit(spec);
    await world.release(spec.key);
    await world.clock.sleep(2 * QUEUE_MS);
    const seen = await world.observe(spec.key);
    hold(seen.state === 'ended' || seen.state === 'absent', `it is told as ${shown(seen)} after its release`);
    hold((await world.live(spec.key)) === 0, 'it is live after its release');
  },
};

const drainNotice: Check = {
  name: 'drain-notice',
  rule: 'drain gives a job notice and leaves the end to it; a second notice changes nothing',
  run: async (world) => {
    const { key } = await world.running({ text: 'ready', last: 'saved-its-work' });
    await printed(world, key, 'ready');
    await world.provider.drain(key, world.clock.now() + NOTICE_MS, world.signal);
    await silently('a second drain', world.provider.drain(key, world.clock.now() + NOTICE_MS, world.signal));
    const seen = await world.until(key, 'ended');
    const outcomes = ['stopped', 'succeeded'];
    hold(outcomes.includes(seen.outcome), `a job that ended well after its notice is told as ${seen.outcome}`);
    if (!world.provider.capabilities.logs) return;
    hold((await world.log(key)).includes('saved-its-work'), 'the job was ended before it could save its work');
  },
};

const closeEndsNothing: Check = {
  name: 'close-ends-nothing',
  rule: 'close ends nothing that runs: a server that stops leaves its jobs alone',
  run: async (world) => {
    const first = await world.open();
    const spec = world.spec({ sleeps: true });
    await world.submit(spec, first);
    await world.until(spec.key, 'running', first);
    await first.close();
    await first.close();
    hold((await world.live(spec.key)) === 1, 'what it ran is not live after close');
  },
};

const closeLetsGo: Check = {
  name: 'close-lets-go',
  rule: 'after close no timer of the provider keeps its process alive',
  run: async (world) => {
    const timers = await watchTimers(async () => {
      const provider = await world.open();
      await provider.list(world.tag, world.signal);
      await provider.close();
    });
    try {
      const limitMs = performance.now() + LET_GO_LIMIT_REAL_MS;
      while (timers.count() > 0 && performance.now() < limitMs)
        await new Promise((resolve) => setTimeout(resolve, LET_GO_LOOK_REAL_MS));
      hold(timers.count() === 0, `${timers.count()} timers run on after close`);
    } finally {
      timers.stop();
    }
  },
};

const messagesCleaned: Check = {
  name: 'messages-cleaned',
  rule: 'what a job said when it failed is handed on, bounded and cleaned',
  run: async (world) => {
    const spec = world.spec({ exit: 3, text: longHostileText('Traceback') });
    await world.submit(spec);
    const seen = await world.until(spec.key, 'ended');
    holdClean('the message', seen.message);
  },
};

const clockSkew: Check = {
  name: 'clock-skew',
  rule: 'a backend whose clock is an hour off is told as it is: its times decide nothing',
  needs: ['skewClock'],
  run: async (world) => {
    for (const skewMs of [SKEW_MS, -SKEW_MS]) {
      world.backend.skewClock?.(skewMs);
      const spec = await world.running();
      const seen = await world.until(spec.key, 'running');
      holdTime('startedAtMs', seen.startedAtMs, world, skewMs);
      const listed = (await world.list()).find((owned) => owned.key === spec.key);
      hold(listed?.live === true, `the list does not show a job of a backend that is ${skewMs} ms off`);
      await world.release(spec.key);
      const ended = await world.observe(spec.key);
      if (ended.state !== 'ended') continue;
      holdTime('endedAtMs', ended.endedAtMs, world, skewMs);
      const { startedAtMs, endedAtMs } = ended;
      hold(
        startedAtMs === undefined || endedAtMs === undefined || startedAtMs <= endedAtMs,
        'it ended before it began',
      );
    }
    await world.backend.heal?.();
  },
};

function holdTime(name: string, atMs: number | undefined, world: World, skewMs: number): void {
  if (atMs === undefined) return;
  const nowMs = world.clock.now();
  const near = [nowMs, nowMs + skewMs].some((aboutMs) => Math.abs(atMs - aboutMs) < SLACK_MS);
  hold(
    Number.isSafeInteger(atMs) && near,
    `${name} is ${shown(atMs)}, it is ${nowMs} here and ${nowMs + skewMs} there`,
  );
}

const CHUNKS: readonly (readonly [number, number])[] = [
  [0, 7],
  [7, 1],
  [8, 100_000],
  [3, 20],
];

const logsFromOffset: Check = {
  name: 'logs-from-offset',
  rule: 'a log is read from any byte, at most as many as were asked for, and nothing behind its end',
  run: async (world) => {
    const { key, whole } = await written(world, 'the first line\nthe second line\nthe third line\n');
    for (const [from, most] of CHUNKS) {
      const part = Buffer.from(await world.provider.logs(key, from, most, world.signal));
      const right = whole.subarray(from, from + most);
      hold(
        part.equals(right),
        `${most} bytes from ${from} are ${shown(part.toString())}, not ${shown(right.toString())}`,
      );
    }
    for (const from of [whole.length, whole.length + 1000]) {
      const behind = await world.provider.logs(key, from, 100, world.signal);
      hold(behind.length === 0, `${behind.length} bytes stand behind the end`);
    }
  },
};

/** A job that has printed this and ended, with its whole log. */
async function written(world: World, text: string): Promise<{ readonly key: string; readonly whole: Buffer }> {
  world.needLogs();
  const spec = world.spec({ text });
  await world.submit(spec);
  await world.until(spec.key, 'ended');
  const whole = await world.log(spec.key);
  hold(whole.includes(text), `a job that printed ${shown(text)} has the log ${shown(whole.toString())}`);
  return { key: spec.key, whole };
}

const logsBytes: Check = {
  name: 'logs-bytes',
  rule: 'offsets count bytes, also inside a character of several',
  run: async (world) => {
    const text = 'grün €😀 日本';
    const { key, whole } = await written(world, text);
    const begins = whole.indexOf(text);
    const parts: Uint8Array[] = [];
    for (let at = begins; at < begins + Buffer.byteLength(text); at++)
      parts.push(await world.provider.logs(key, at, 1, world.signal));
    const read = Buffer.concat(parts);
    hold(read.equals(Buffer.from(text)), `read byte by byte it is ${shown(read.toString())}, not ${shown(text)}`);
  },
};

const logsAfterEnd: Check = {
  name: 'logs-after-end',
  rule: 'reading a log goes on from its offset after the job has ended, and after it is gone it is that log or not found',
  run: async (world) => {
    world.needLogs();
    const { key } = await world.running({ text: 'first half, ', last: 'second half' });
    await printed(world, key, 'first half, ');
    const read = await world.log(key);
    await world.provider.drain(key, world.clock.now() + NOTICE_MS, world.signal);
    await world.until(key, 'ended');
    const rest = Buffer.from(await world.provider.logs(key, read.length, 100_000, world.signal));
    const whole = await world.log(key);
    hold(rest.equals(whole.subarray(read.length)), `from byte ${read.length} on it reads ${shown(rest.toString())}`);
    hold(rest.includes('second half'), `what it printed at its end is missing: ${shown(rest.toString())}`);
    await world.release(key);
    await world.backend.forget?.(key);
    const gone = await world.provider.logs(key, read.length, 100_000, world.signal).catch((error: unknown) => error);
    if (gone instanceof Uint8Array)
      return hold(Buffer.from(gone).equals(rest), `after it is gone it reads ${shown(Buffer.from(gone).toString())}`);
    await world.refused('logs', 'not_found', Promise.reject(gone));
  },
};

const USAGE_LOOKS = 3;
const USAGE_LOOK_MS = 400;
/** More than a job of the kit has: what is told in other units is told as far more. */
const MOST_CPUS = 256;

const usageTold: Check = {
  name: 'usage-told',
  rule: 'what a job uses is told in whole numbers, its CPU time in milliseconds that never become fewer, and of a key that was never submitted nothing',
  run: async (world) => {
    if (world.provider.usage === undefined) throw new NotExercised('it does not tell what jobs use');
    const { key: never } = world.spec({}, { bookingId: NEVER });
    const unknown = await world.provider.usage(never, world.signal);
    hold(unknown === undefined, `a key that was never submitted uses ${shown(unknown)}`);
    const beganMs = world.clock.now();
    const { key } = await world.running({ text: 'ready', last: 'done' });
    await printed(world, key, 'ready');
    let before = 0;
    const look = async () => {
      const usage = await world.provider.usage?.(key, world.signal);
      if (usage !== undefined) before = holdUsage(usage, before, world.clock.now() - beganMs);
    };
    for (let i = 0; i < USAGE_LOOKS; i++) {
      await look();
      await world.clock.sleep(USAGE_LOOK_MS);
    }
    await world.provider.drain(key, world.clock.now() + NOTICE_MS, world.signal);
    await world.until(key, 'ended');
    await look();
    await world.release(key);
    await look();
  },
};

/** Gives the CPU time that the next look may not be below. */
function holdUsage(usage: Usage, before: number, ranMs: number): number {
  for (const [name, value] of Object.entries(usage)) {
    hold(USAGE_NAMES.has(name), `usage has ${shown(name)}, which the contract does not know`);
    hold(
      value === undefined || (Number.isSafeInteger(value) && value >= 0),
      `usage.${name}: ${shown(value)} is no whole number from 0 on`,
    );
  }
  const { cpuMs } = usage;
  if (cpuMs === undefined) return before;
  hold(cpuMs >= before, `usage.cpuMs fell from ${before} to ${cpuMs}: it counts all since the job began`);
  const most = (ranMs + SECOND_MS) * MOST_CPUS;
  hold(cpuMs <= most, `usage.cpuMs is ${cpuMs} of a job that slept for ${ranMs} ms at most: it counts milliseconds`);
  return cpuMs;
}

const SECOND_MS = 1_000;
const USAGE_NAMES = new Set(['cpuMs', 'memoryBytes', 'gpuMilli', 'gpuMemoryBytes']);

export const END_CHECKS: readonly Check[] = [
  releaseUnknown,
  releaseEnded,
  releaseWaits,
  releaseQueued,
  drainNotice,
  closeEndsNothing,
  closeLetsGo,
  messagesCleaned,
  clockSkew,
  logsFromOffset,
  logsBytes,
  logsAfterEnd,
  usageTold,
];
