import type { Clock } from '../../platform/clock.ts';
import type { Chance, Timeline } from './timeline.ts';

/** How often what goes wrong; all 0: the world is well. */
export interface Faults {
  /** A call that never arrives; one whose reply is lost; one that arrives twice; one that arrives after it was given up. */
  lost: number;
  replyLost: number;
  twice: number;
  late: number;
  /** Of the desk: the connection breaks before, or after, the commit. */
  deskAway: number;
  /** A peer or provider that answers nothing, until it is back. */
  notTold: number;
}

export const WELL: Faults = { lost: 0, replyLost: 0, twice: 0, late: 0, deskAway: 0, notTold: 0 };

/** What a caller is told of a call that got no answer. */
const GIVEN_UP_MS = 8_000;
/** A call can arrive this long after it was given up. */
const LATEST_MS = 20_000;

export interface Call<T> {
  readonly name: string;
  /** Takes its effect, at once, and answers; may throw. */
  readonly effect: () => T;
  /** What the caller gets, or what is thrown, where no answer came. */
  readonly unanswered: () => T;
  readonly faults: Pick<Faults, 'lost' | 'replyLost' | 'twice' | 'late'>;
}

/**
 * One run of the engine. When it dies, nothing of it ever goes on: no promise of it is settled any more, what it had sent is still on its
 * way or lost. When it is frozen, all it waits for comes once it wakes.
 */
export class Life {
  readonly id: number;
  readonly #timeline: Timeline;
  readonly #chance: Chance;
  #alive = true;
  #frozen: (() => void)[] | undefined;

  constructor(id: number, timeline: Timeline, chance: Chance) {
    this.id = id;
    this.#timeline = timeline;
    this.#chance = chance;
  }

  get alive(): boolean {
    return this.#alive;
  }

  get frozen(): boolean {
    return this.#frozen !== undefined;
  }

  die(): void {
    this.#alive = false;
    this.#frozen = undefined;
  }

  freeze(): void {
    this.#frozen ??= [];
  }

  wakeUp(): void {
    const waiting = this.#frozen ?? [];
    this.#frozen = undefined;
    for (const go of waiting) go();
  }

  /** Lets the engine go on, where there still is one. */
  go(on: () => void): void {
    if (!this.#alive) return;
    if (this.#frozen === undefined) on();
    else this.#frozen.push(on);
  }

  clock(): Clock {
    return {
      now: () => this.#timeline.now(),
      sleep: (ms, signal) =>
        new Promise((resolve) => {
          if (signal?.aborted === true) return this.go(resolve);
          let done = false;
          const wake = () => {
            if (done) return;
            done = true;
            signal?.removeEventListener('abort', wake);
            this.go(resolve);
          };
          signal?.addEventListener('abort', wake, { once: true });
          this.#timeline.after(ms, wake);
        }),
    };
  }

  /** A call to something outside of the engine, over a wire that delays, loses and repeats. */
  call<T>({ name, effect, unanswered, faults }: Call<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const answer = (of: () => T) => {
      try {
        const value = of();
        return () => resolve(value);
      } catch (error) {
        return () => reject(error);
      }
    };
    const chance = this.#chance;
    const timeline = this.#timeline;
    const lot = chance.draw();
    const { lost, replyLost, twice, late } = faults;
    const thereMs = chance.is(0.7) ? chance.between(0, 5) : chance.between(5, 900);
    const backMs = chance.is(0.7) ? 0 : chance.between(1, 400);
    const goesDown = chance.is(0.5);
    const arrive = (what: string): (() => void) | undefined => {
      if (!this.#alive && goesDown) {
        timeline.note(`${this.id} ${name} never arrived`);
        return undefined;
      }
      timeline.note(`${this.id} ${name}${what}`);
      return answer(effect);
    };
    const giveUp = (ms: number) => timeline.after(ms, () => this.go(answer(unanswered)));
    if (lot < lost) {
      timeline.note(`${this.id} ${name} lost`);
      giveUp(GIVEN_UP_MS);
    } else if (lot < lost + replyLost) {
      timeline.after(thereMs, () => void arrive(', reply lost'));
      giveUp(GIVEN_UP_MS);
    } else if (lot < lost + replyLost + late) {
      giveUp(GIVEN_UP_MS);
      timeline.after(GIVEN_UP_MS + chance.between(1, LATEST_MS), () => void arrive(', too late'));
    } else {
      timeline.after(thereMs, () => {
        const on = arrive('');
        if (on === undefined) return;
        if (backMs === 0) this.go(on);
        else timeline.after(backMs, () => this.go(on));
      });
      if (lot < lost + replyLost + late + twice)
        timeline.after(thereMs + chance.between(1, 5_000), () => void arrive(' again'));
    }
    return promise;
  }
}
