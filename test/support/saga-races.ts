import { setTimeout as sleep } from 'node:timers/promises';
import { isEnded } from '../../core/booking.ts';
import { attemptKey } from '../../core/ids.ts';
import { cancelBooking } from '../../scheduler/apply/cancel.ts';
import type { StepContext } from '../../scheduler/apply/context.ts';
import { GroupCommit } from '../../scheduler/apply/group-commit.ts';
import { preempt } from '../../scheduler/apply/preempt.ts';
import { proposeRevoke } from '../../scheduler/signatures/revoke.ts';
import { leaksOf, startProcess } from './saga-harness.ts';
import { ANN, Scene } from './saga-stories.ts';
import { Wire } from './saga-wire.ts';
import type { SagaWorld } from './saga-world.ts';
import { storyTime } from './story-time.ts';

/** What can end a booking that runs, besides its time. */
const MOVES = ['preempt', 'revoke', 'cancel', 'end of run'] as const;
type Move = (typeof MOVES)[number];

/** Each three of them, and all four, in all orders. */
export const ORDERS: readonly (readonly Move[])[] = [
  ...MOVES.flatMap((left) => permutations(MOVES.filter((move) => move !== left))),
  ...permutations(MOVES),
];

function permutations<T>(all: readonly T[]): readonly (readonly T[])[] {
  if (all.length === 0) return [[]];
  return all.flatMap((first, i) => permutations(all.toSpliced(i, 1)).map((rest) => [first, ...rest]));
}

/** At once: they are asked for APART_MS after each other, and whichever takes the row first wins. In turn: each is answered before the next is asked for. */
export const PACES = ['at once', 'in turn'] as const;
const APART_MS = 1;
/** Only for what hangs. */
const LIMIT_MS = 60_000;

/** Asks for these of one running booking in this order, while the engine goes on. What is wrong afterwards; nothing: it ended once, as somebody asked. */
export async function race(
  world: SagaWorld,
  pace: (typeof PACES)[number],
  order: readonly Move[],
): Promise<readonly string[]> {
  const scene = new Scene(world);
  const engine = startProcess(world, {}, new Wire(), storyTime());
  await scene.book('job');
  const id = scene.cast.get('job') as string;
  const asked = { ...scene.by(), environment: 'merit-test' };
  try {
    engine.wake(id);
    const running = await world.until(id, ({ state }) => state.state === 'applied');
    await scene.asTenant((tx) => proposeRevoke(tx, asked, running.bookingId, 'a race'));
    const { desk, clock, metrics } = world.current().context;
    const commits = new GroupCommit(desk);
    const ctx = { desk, clock, metrics, commit: (move) => commits.commit(move) } as Partial<StepContext> as StepContext;
    const moves: Readonly<Record<Move, () => Promise<unknown>>> = {
      preempt: () => preempt(ctx, running, { id, for: 'an-asker', how: 'evict', keptReplicas: 0 }, undefined),
      revoke: () => scene.sign(running.bookingId, 'allocation.revoke', ANN),
      cancel: async () => {
        // As a person would who is told to ask again.
        while ((await scene.asTenant((tx) => cancelBooking(tx, id, 'ada', Date.now())))?.kind === 'leaving')
          await sleep(APART_MS);
      },
      'end of run': async () => {
        if (world.provider.live.includes(attemptKey(running.bookingId, 1)))
          world.provider.end(attemptKey(running.bookingId, 1), 'succeeded');
      },
    };
    const going: Promise<unknown>[] = [];
    for (const move of order) {
      // Who comes too late is told so, and changes nothing.
      const asking = moves[move]().catch(() => {});
      going.push(asking);
      engine.wake(id);
      await (pace === 'in turn' ? asking : sleep(APART_MS));
    }
    await Promise.all(going);
    return await aftermath(world, scene, id, engine.wake);
  } finally {
    await engine.stop();
  }
}

async function aftermath(
  world: SagaWorld,
  scene: Scene,
  id: string,
  wake: (id: string) => void,
): Promise<readonly string[]> {
  const deadline = performance.now() + LIMIT_MS;
  for (;;) {
    const booking = await world.get(id);
    wake(id);
    // It was asked to end, and so it does; one that only made room goes on, and would run again here.
    if (booking.state.state === 'applied' && booking.state.attempt > 1) {
      scene.end(booking);
      return [`${id} runs again, though its end was asked for`];
    }
    if (isEnded(booking.state.state)) return leaksOf(world, [booking]);
    if (performance.now() > deadline) return [`${id} stays ${JSON.stringify(booking.state)}`];
    await sleep(5);
  }
}
