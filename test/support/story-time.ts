import { systemClock } from '../../platform/clock.ts';

/** An hour of a story is a minute and a half: who waits for a back-off or a notice waits for no more than a moment. */
const FASTER = 40;
const TICK_MS = 5;
/** The most that one look at the time adds: what the process was not given to run in is no time of a story's, or a busy machine makes timeouts of it. */
const MAX_STEP_MS = 20;

/** The time of one story, whichever of its processes asks. */
export interface StoryTime {
  now(): number;
  /** Resolves once the story's time is past it. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** Begins at the system's time and runs FASTER than that. */
export function storyTime(): StoryTime {
  const fromMs = Date.now();
  const fromRanMs = ranMs();
  const now = () => fromMs + Math.round((ranMs() - fromRanMs) * FASTER);
  return {
    now,
    sleep: async (ms, signal) => {
      const untilMs = now() + ms;
      do await systemClock.sleep(Math.max(1, (untilMs - now()) / FASTER), signal);
      while (now() < untilMs && signal?.aborted !== true);
    },
  };
}

let ran = 0;
let lookedAtMs = performance.now();
setInterval(ranMs, TICK_MS).unref();

/** For how long this process has had its turn. */
function ranMs(): number {
  const atMs = performance.now();
  ran += Math.min(atMs - lookedAtMs, MAX_STEP_MS);
  lookedAtMs = atMs;
  return ran;
}
