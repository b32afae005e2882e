import { MAX_EXTENSIONS } from '../../core/extension.ts';
import { seeded } from '../bench/random.ts';
import { drawActions, drawFaults, ensureLeader, NEARLY } from './actions.ts';
import { WELL } from './life.ts';
import { Broken, HOLDING, must } from './model.ts';
import { enlarge } from './setting.ts';
import { Chance } from './timeline.ts';
import { TAG, World } from './world.ts';

export interface Outcome {
  readonly seed: number;
  readonly steps: number;
  readonly virtualMs: number;
  readonly bookings: number;
  /** The rule that was broken; undefined: none. */
  readonly broken: string | undefined;
  readonly trace: readonly string[];
}

/** Steps while anything may go wrong; then the world is well until all is done. */
export const CHAOS_STEPS = 400;
/** Steps of the rest: a seed that needs more goes on for ever. */
const MOST_STEPS = 60_000;
const ACTION_MS = [50, 1_000, 10_000, 60_000];
/** The provider's window and this long after the faults healed, nothing is on its way. */
const HEALED_MS = 60_000;
/** All that waits has run and ended by then. */
const DONE_MS = 4 * 3_600_000;
const LOOK_MS = 1_000;
/** How many of the seeds end their chaos with one, and how long it is. */
const BLACKOUTS = 0.2;
const BLACKOUT_MS = 11 * 60_000;

/** One seed, from its first step to its last: all that happens in it is drawn from the seed. */
export async function simulate(seed: number): Promise<Outcome> {
  const chance = new Chance(seeded(seed * 7919 + 17));
  const world = new World(chance);
  let steps = 0;
  let broken: string | undefined;
  try {
    steps = await run(world);
  } catch (error) {
    broken = error instanceof Broken ? error.message : `the simulator failed: ${(error as Error).stack}`;
  }
  for (const { life } of world.runs) life.die();
  const { timeline, ids } = world;
  return { seed, steps, virtualMs: timeline.now(), bookings: ids.length, broken, trace: timeline.trace };
}

async function run(world: World): Promise<number> {
  const { chance, timeline, faults } = world;
  Object.assign(faults, drawFaults(chance));
  const actions = drawActions(chance);
  const pace = chance.of(ACTION_MS);
  let isHealed = false;
  const act = () => {
    if (isHealed) return;
    chance.of(actions)(world);
    timeline.after(chance.between(0, pace), act);
  };
  world.start();
  act();
  let steps = 0;
  for (; steps < CHAOS_STEPS; steps++) await step(world);
  isHealed = true;
  if (chance.is(BLACKOUTS)) steps += await blackout(world);
  heal(world);
  const healedMs = timeline.now();
  let lookedMs = healedMs;
  for (; !isDone(world); steps++) {
    must(steps < MOST_STEPS, 'it comes to an end', `${steps} steps`);
    if (timeline.now() - healedMs >= DONE_MS) must(false, 'all that can run has run', open(world));
    await step(world);
    if (timeline.now() - lookedMs < LOOK_MS) continue;
    lookedMs = timeline.now();
    isUnderWayOnlyShortly(world, healedMs);
  }
  isTidy(world);
  return steps;
}

/** Something is on its way, and nobody leads for longer than what it holds may stay pending. */
async function blackout(world: World): Promise<number> {
  const { timeline, model } = world;
  let steps = 0;
  const isNear = () => [...model.known.values()].some(({ booking }) => NEARLY.has(booking.state.state));
  for (; !isNear() && steps < CHAOS_STEPS && timeline.nextMs() !== undefined; steps++) await step(world);
  for (const one of world.runs) world.crash(one);
  let isOver = false;
  timeline.after(BLACKOUT_MS, () => {
    isOver = true;
  });
  for (; !isOver; steps++) await step(world);
  return steps;
}

async function step(world: World): Promise<void> {
  const { timeline, model } = world;
  must(await timeline.step(), 'there is always something to do', 'nothing is due');
  model.check();
  if (world.moved) {
    model.checkBookings();
    model.checkLedger();
  }
  world.moved = false;
  const [crime] = world.crimes;
  must(crime === undefined, 'the engine has no errors of its own', crime ?? '');
}

/** Everything that was wrong is mended: one process leads, everybody answers, everything held is let go. */
function heal(world: World): void {
  const { timeline, setting, books, finance, sentinel, faults } = world;
  timeline.note('the world is well');
  Object.assign(faults, WELL);
  for (const provider of world.providers.values()) {
    Object.assign(provider, { away: false, full: false, amnesia: false });
  }
  finance.away = false;
  finance.refuses = 0;
  sentinel.away = false;
  sentinel.change([], timeline.now());
  world.unsealedSinceMs = undefined;
  world.jobs = { slowStart: 0, fails: 0, vanishes: 0, reclaimed: 0, ignoresNotice: 0, longestMs: 3_000 };
  for (const pool of setting.pools) Object.assign(pool, { cordoned: false, draining: false });
  enlarge(setting, books, world.model);
  for (const id of world.ids) books.hold(id, 'let_go', 'ada', timeline.now());
  for (const { life } of world.runs) life.wakeUp();
  ensureLeader(world);
}

function open(world: World): string {
  return [...world.model.known.values()]
    .filter(({ booking }) => !isOver(booking.state.state))
    .map(({ booking }) => `${booking.bookingId} ${JSON.stringify(booking.state)}`)
    .join('\n');
}

function isOver(state: string): boolean {
  return ['released', 'rejected', 'infeasible', 'failed', 'expired', 'cancelled', 'revoked'].includes(state);
}

/** Bookings are over or may wait for ever, and nothing is left at the providers. */
function isDone(world: World): boolean {
  for (const { booking } of world.model.known.values()) if (!isOver(booking.state.state)) return false;
  return orphans(world).length === 0 && world.timeline.trace.length > 0;
}

function orphans({ providers }: World): readonly string[] {
  return [...providers.values()].flatMap((provider) =>
    [...provider.resources.values()]
      .filter(({ key, tag }) => tag === TAG && provider.isLive(key))
      .map(({ key }) => key),
  );
}

/** Liveness: once the world is well, nothing is on its way for longer than its provider's window and a minute. */
function isUnderWayOnlyShortly({ timeline, model, providers }: World, healedMs: number): void {
  const nowMs = timeline.now();
  for (const { booking, sinceMs } of model.known.values()) {
    const { state } = booking;
    const asked = state.state === 'applied' ? state.extensions?.at(-1) : undefined;
    if (asked?.state === 'asked' || asked?.state === 'holding') {
      const ms = nowMs - Math.max(asked.askedAtMs, healedMs);
      must(ms <= HEALED_MS, 'an extension is answered', `${booking.bookingId} is ${asked.state} for ${ms} ms`);
    }
    if (!HOLDING.has(state.state) || state.state === 'applied' || state.state === 'draining') continue;
    if (!('placement' in state)) continue;
    const { windowMs } = providers.get(state.placement.pool)!.options;
    const text = `${booking.bookingId} is ${state.state} for ${nowMs - sinceMs} ms`;
    must(nowMs - Math.max(sinceMs, healedMs) <= windowMs + HEALED_MS, 'nothing stays on its way', text);
  }
}

function holdIds(id: string, attempts: number): readonly string[] {
  return Array.from({ length: attempts }, (_, i) => `h-${id}-${i + 1}`).flatMap((base) => [
    base,
    ...Array.from({ length: MAX_EXTENSIONS }, (_, n) => `${base}-x${n + 1}`),
  ]);
}

/** When all is over: every account is even, Finance has been paid what the ledger says, strangers were left alone. */
function isTidy({ books, finance, model, providers }: World): void {
  for (const { id, kind, ...balance } of books.ledger.balances.values()) {
    must(balance.debitsPending === 0n && balance.creditsPending === 0n, 'nothing is left pending', id);
    if (kind === 'quota') must(balance.creditsPosted === balance.debitsPosted, 'all capacity is given back', id);
    if (kind === 'capacity') must(balance.creditsPosted === balance.debitsPosted, 'all capacity is given back', id);
  }
  for (const [id, { booking, spent }] of model.known) {
    let paid = 0n;
    for (const holdId of holdIds(id, booking.state.attempt)) {
      const hold = finance.book.get(holdId);
      if (hold === undefined) continue;
      must(hold.status !== 'held' && hold.status !== 'confirmed', 'no money is left held', hold.holdId);
      if (hold.status === 'settled') paid += BigInt((hold.settled?.amount ?? '0').replace('.', ''));
    }
    must(paid === spent, 'Finance is paid what the ledger spent', `${id}: ${paid} and ${spent}`);
  }
  for (const provider of providers.values())
    for (const { key, tag, state } of provider.resources.values())
      must(tag === TAG || state === 'running', 'strangers are left alone', key);
}
