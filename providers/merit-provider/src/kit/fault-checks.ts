import { type AttemptSpec, type Verbs, WORD_LIMIT } from '../contract.ts';
import { isProviderError } from '../errors.ts';
import { type Check, hold, shown } from './check.ts';
import { holdClean, longHostileText } from './hostile.ts';
import { holdOne, sameHandle } from './submit-checks.ts';
import type { World } from './world.ts';

const PATIENCE_REAL_MS = 300;
/** Within this a submit reaches its backend, on a busy machine too. */
const MOST_PATIENCE_REAL_MS = 20_000;
/** A call whose signal aborted ends within this, on a busy machine too. */
const ABORT_LIMIT_REAL_MS = 5_000;
const THROTTLE_MS = 7_000;
const HIDDEN_MS = 45_000;
const SLOW_START_MS = 60_000;
const SUBMIT_LIMIT_MS = 30_000;

type Settled = { readonly kind: 'returned' } | { readonly kind: 'threw'; readonly error: unknown };

const settled = (work: Promise<unknown>): Promise<Settled> =>
  work.then(
    () => ({ kind: 'returned' }),
    (error: unknown) => ({ kind: 'threw', error }),
  );

/** Whatever became of a submit whose reply was lost: it is told as unknown, found by its key, and its repetition makes nothing. */
async function holdLost(world: World, spec: AttemptSpec, submitted: Promise<unknown>): Promise<void> {
  const outcome = await settled(submitted);
  if (outcome.kind === 'threw') {
    const { error } = outcome;
    hold(isProviderError(error), `submit throws what is no ProviderError: ${String(error)}`);
    hold(error.code === 'transient', `submit throws ${error.code} where it has to throw transient`);
    hold(error.effect === 'unknown', `submit tells effect ${error.effect}, yet the backend took the job`);
  }
  const seen = await world.until(spec.key, 'running');
  const again = await world.submit(spec);
  hold(sameHandle(seen.handle, again), `observe tells ${shown(seen.handle)}, the repeated submit ${shown(again)}`);
  await holdOne(world, spec.key);
}

function lost(name: string, need: 'loseReply' | 'tearReply', how: string): Check {
  return {
    name,
    rule: `a submit whose reply was ${how} has an unknown effect, is found by its key, and its repetition makes nothing`,
    needs: [need],
    run: async (world) => {
      const spec = world.spec({ sleeps: true });
      world.backend[need]?.();
      await holdLost(world, spec, world.submit(spec));
    },
  };
}

/**
 * Submits until the limit comes while the stalled backend is asked: on a busy machine it can come before anything was sent, which is
 * rightly told as no effect. That it was so shows by the next try: the stall still waits for it.
 */
async function submitInto(world: World, spec: AttemptSpec): Promise<void> {
  for (let patienceMs = PATIENCE_REAL_MS; ; patienceMs *= 4) {
    const outcome = await settled(world.provider.submit(spec, AbortSignal.timeout(patienceMs)));
    const isFirst = patienceMs === PATIENCE_REAL_MS;
    if (outcome.kind === 'returned') {
      hold(isFirst, 'submit told effect none, yet the backend took the job');
      return;
    }
    const isTooEarly = isProviderError(outcome.error) && outcome.error.effect === 'none';
    if (!isTooEarly || patienceMs >= MOST_PATIENCE_REAL_MS) throw outcome.error;
  }
}

const timeoutAfterSuccess: Check = {
  name: 'timeout-after-success',
  rule: 'a submit that took effect and ran into its time limit has an unknown effect, and its repetition makes nothing',
  needs: ['stallReply'],
  run: async (world) => {
    const spec = world.spec({ sleeps: true });
    world.backend.stallReply?.();
    const submitted = submitInto(world, spec);
    await settled(submitted);
    // A submit of several calls may have been cut before the one by which it takes effect, told as unknown, too, and repeated: into the stall, which waits.
    const isNothing =
      (await world.observe(spec.key)).state === 'absent' && (await world.backend.live?.(spec.key)) === 0;
    if (isNothing) await settled(submitInto(world, spec));
    await holdLost(world, spec, submitted);
  },
};

const backendAway: Check = {
  name: 'backend-away',
  rule: 'calls to a backend that is away throw transient, and work again once it is back',
  needs: ['goAway'],
  run: async (world) => {
    const spec = world.spec({ sleeps: true });
    await world.backend.goAway?.();
    for (const [what, work] of reads(world, spec.key)) {
      const { code } = await world.failure(what, work());
      hold(code === 'transient', `${what} throws ${code} where it has to throw transient`);
    }
    const { code } = await world.failure('submit', world.submit(spec));
    hold(code === 'transient', `submit throws ${code} where it has to throw transient`);
    await world.backend.heal?.();
    await world.submit(spec);
    await world.until(spec.key, 'running');
    await holdOne(world, spec.key);
  },
};

const reads = (world: World, key: string): readonly (readonly [string, () => Promise<unknown>])[] => [
  ['observe', () => world.observe(key)],
  ['list', () => world.list()],
];

const abortHonoured: Check = {
  name: 'abort-honoured',
  rule: `each verb ends soon after its signal aborts, and none tells success that it has not seen`,
  needs: ['hang'],
  run: async (world) => {
    const { key } = await world.running();
    world.backend.hang?.();
    const calls: Readonly<Record<keyof Verbs, (signal: AbortSignal) => Promise<unknown>>> = {
      capacity: (signal) => world.provider.capacity(signal),
      offers: (signal) => world.provider.offers(signal),
      submit: (signal) => world.provider.submit(world.spec({}), signal),
      observe: (signal) => world.provider.observe(key, signal),
      drain: (signal) => world.provider.drain(key, world.clock.now() + 1_000, signal),
      release: (signal) => world.provider.release(key, signal),
      list: (signal) => world.provider.list(world.tag, signal),
      logs: (signal) => world.provider.logs(key, 0, 100, signal),
    };
    await Promise.all(Object.entries(calls).map(([verb, call]) => abortedInTime(verb, call)));
    await world.backend.heal?.();
  },
};

const alreadyAborted: Check = {
  name: 'already-aborted',
  rule: 'a call whose signal has aborted tells neither success nor harmlessness that it has not seen',
  run: async (world) => {
    const spec = world.spec({ sleeps: true });
    const outcome = await settled(world.provider.submit(spec, AbortSignal.abort()));
    if (outcome.kind === 'threw') {
      hold(isProviderError(outcome.error), `submit throws what is no ProviderError: ${String(outcome.error)}`);
      const seen = outcome.error.effect === 'none' ? await world.observe(spec.key) : { state: 'absent' };
      hold(seen.state === 'absent', `submit told no effect, yet the job is ${seen.state}`);
    }
    await world.submit(spec);
    await world.until(spec.key, 'running');
    const ended = await settled(world.provider.release(spec.key, AbortSignal.abort()));
    if (ended.kind === 'threw')
      return hold(isProviderError(ended.error), `release throws what is no ProviderError: ${String(ended.error)}`);
    hold((await world.live(spec.key)) === 0, 'release returns, yet the job runs');
  },
};

async function abortedInTime(verb: string, call: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
  const signal = AbortSignal.timeout(PATIENCE_REAL_MS);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), PATIENCE_REAL_MS + ABORT_LIMIT_REAL_MS);
  });
  const outcome = await Promise.race([settled(call(signal)), late]);
  clearTimeout(timer);
  hold(outcome !== 'late', `${verb} goes on ${ABORT_LIMIT_REAL_MS / 1000} s after its signal aborted`);
  if (outcome.kind === 'returned') {
    hold(verb !== 'submit' && verb !== 'release', `${verb} returns although the backend never answered`);
    return;
  }
  hold(isProviderError(outcome.error), `${verb} throws what is no ProviderError: ${String(outcome.error)}`);
}

const throttled: Check = {
  name: 'throttled',
  rule: 'a call that the backend asks to repeat later throws transient without effect, and hands the time on',
  needs: ['throttle'],
  run: async (world) => {
    const spec = world.spec({ sleeps: true });
    world.backend.throttle?.(THROTTLE_MS);
    for (const [what, work] of [...reads(world, spec.key), ['submit', () => world.submit(spec)] as const]) {
      const { retryAfterMs } = await world.refused(what, 'transient', work());
      hold(
        retryAfterMs === THROTTLE_MS,
        `${what} tells retryAfterMs ${retryAfterMs}, the backend said ${THROTTLE_MS} ms`,
      );
    }
    await world.backend.heal?.();
    await world.submit(spec);
  },
};

const authExpired: Check = {
  name: 'auth-expired',
  rule: 'credentials that are no longer taken are told as auth without effect, and new ones are read without a restart',
  needs: ['expireAuth'],
  run: async (world) => {
    const spec = world.spec({ sleeps: true });
    await world.observe(spec.key);
    world.backend.expireAuth?.();
    for (const [what, work] of [...reads(world, spec.key), ['submit', () => world.submit(spec)] as const])
      await world.refused(what, 'auth', work());
    await world.backend.heal?.();
    await world.submit(spec);
    await world.until(spec.key, 'running');
  },
};

function denied(name: string, need: 'denyCapacity' | 'denyQuota', code: 'no_capacity' | 'quota_exceeded'): Check {
  return {
    name,
    rule: `a job that the backend has no ${need === 'denyQuota' ? 'quota' : 'room'} for is refused as ${code}, and may be submitted later`,
    needs: [need],
    run: async (world) => {
      const spec = world.spec({ sleeps: true });
      await world.backend[need]?.();
      await world.refused('submit', code, world.submit(spec));
      const seen = await world.observe(spec.key);
      hold(seen.state === 'absent', `what was refused is seen as ${seen.state}`);
      await world.backend.heal?.();
      await world.submit(spec);
      await world.until(spec.key, 'running');
      await holdOne(world, spec.key);
    },
  };
}

const refusalsCleaned: Check = {
  name: 'refusals-cleaned',
  rule: 'what the backend says of a call that it refuses is handed on, bounded and cleaned',
  needs: ['refuse'],
  run: async (world) => {
    const words = 'the zone is misspelt';
    world.backend.refuse?.(longHostileText(words));
    const { message } = await world.refused('submit', 'invalid', world.submit(world.spec({})));
    holdClean('the error', message);
    hold(message.includes(words), `the error does not hand on what the backend said: ${shown(message)}`);
  },
};

const eventualConsistency: Check = {
  name: 'eventual-consistency',
  rule: `what was submitted may be missed for the consistency window and no longer; a repetition within it makes nothing`,
  needs: ['hideNew'],
  run: async (world) => {
    const spec = world.spec({ sleeps: true });
    world.backend.hideNew?.(HIDDEN_MS);
    const first = await world.submit(spec);
    const early = await world.observe(spec.key);
    hold(
      early.state === 'absent' || early.state === 'pending' || early.state === 'running',
      `at once it is ${early.state}`,
    );
    await world.list();
    const again = await world.submit(spec);
    hold(sameHandle(first, again), `the first handle is ${shown(first)}, the second ${shown(again)}`);
    await world.clock.sleep(world.provider.consistencyWindowMs);
    const seen = await world.observe(spec.key);
    hold(seen.state !== 'absent', `it is still absent after the window of ${world.provider.consistencyWindowMs} ms`);
    await holdOne(world, spec.key);
  },
};

const unknownStatus: Check = {
  name: 'unknown-status',
  rule: 'a state that has a name never seen before is told as that, counts as live, and nothing is concluded from it',
  needs: ['showStatus'],
  run: async (world) => {
    const { key } = await world.running();
    world.backend.showStatus?.(`Hibernating\u001b[31m${'!'.repeat(1000)}`);
    const seen = await world.observe(key);
    hold(seen.state === 'unknown-status', `it is told as ${shown(seen)}`);
    hold(seen.word.startsWith('Hibernating'), `the word is told as ${shown(seen.word)}`);
    holdClean('the word', seen.word);
    hold(seen.word.length <= WORD_LIMIT, `the word has ${seen.word.length} characters, ${WORD_LIMIT} are taken`);
    const listed = (await world.list()).find((owned) => owned.key === key);
    hold(listed?.live === true, 'the list does not show it as live');
  },
};

const slowStart: Check = {
  name: 'slow-start',
  rule: 'submit returns once the backend has taken a job, which is pending until it runs',
  needs: ['slowStart'],
  run: async (world) => {
    const spec = world.spec({ sleeps: true });
    world.backend.slowStart?.(SLOW_START_MS);
    const beganMs = world.clock.now();
    await world.submit(spec);
    hold(world.clock.now() - beganMs < SUBMIT_LIMIT_MS, 'submit waits until the job runs');
    const seen = await world.observe(spec.key);
    hold(seen.state === 'pending', `it is told as ${seen.state} before it runs`);
    await world.until(spec.key, 'running');
  },
};

export const FAULT_CHECKS: readonly Check[] = [
  lost('lost-reply', 'loseReply', 'lost'),
  timeoutAfterSuccess,
  lost('torn-reply', 'tearReply', 'torn'),
  backendAway,
  abortHonoured,
  alreadyAborted,
  throttled,
  authExpired,
  denied('capacity-denied', 'denyCapacity', 'no_capacity'),
  denied('quota-exceeded', 'denyQuota', 'quota_exceeded'),
  refusalsCleaned,
  eventualConsistency,
  unknownStatus,
  slowStart,
];
