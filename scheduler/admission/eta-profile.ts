import type { TreeUsage } from '../../pools/tree-usage.ts';
import { gatesOf } from './gates.ts';
import type { Scene } from './scene.ts';
import type { Shape } from './shape.ts';
import { ShutRoom } from './shut-room.ts';
import type { Option, Work, World } from './world.ts';

/** Leases looked at for one slot; whoever starts later than so many ends is told no time. */
const MAX_ENDS = 20_000;
/** Windows and ends tried for one slot. */
const MAX_STEPS = 50_000;

interface End {
  readonly atMs: number;
  readonly work: Work;
}

/** Running work by the end of its lease, then by id. */
export class LeaseEnds {
  readonly #ends: End[] = [];
  /** Work without an end. */
  readonly #endless: End[] = [];

  add(work: Work): void {
    const { leaseEndsAtMs, id } = work.input;
    const ends = this.#of(leaseEndsAtMs);
    const atMs = leaseEndsAtMs ?? Number.POSITIVE_INFINITY;
    ends.splice(indexOf(ends, atMs, id), 0, { atMs, work });
  }

  remove(work: Work): void {
    const { leaseEndsAtMs, id } = work.input;
    const ends = this.#of(leaseEndsAtMs);
    const at = indexOf(ends, leaseEndsAtMs ?? Number.POSITIVE_INFINITY, id);
    if (ends[at]?.work === work) ends.splice(at, 1);
  }

  get inOrder(): readonly End[] {
    return this.#ends;
  }

  /** All that runs; what has no end comes last. */
  *firstToEnd(): Generator<Work> {
    for (const { work } of this.#ends) yield work;
    for (const { work } of this.#endless) yield work;
  }

  #of(leaseEndsAtMs: number | null): End[] {
    return leaseEndsAtMs === null ? this.#endless : this.#ends;
  }
}

function indexOf(ends: readonly End[], atMs: number, id: string): number {
  let low = 0;
  let high = ends.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const end = ends[middle]!;
    if (end.atMs < atMs || (end.atMs === atMs && end.work.input.id < id)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Capacity that is promised from a time on. */
export interface Slot {
  readonly division: number;
  readonly option: Option;
  readonly slotMs: number;
  readonly untilMs: number;
  /** Who uses what at `slotMs`, itself included. */
  readonly usage: TreeUsage;
}

/** The free capacity over time, as a walk through the ends of leases, on a world of its own. */
export class Profile {
  readonly #scene: Scene;
  readonly #world: World;
  readonly #ends: readonly End[];
  /** Replicas a work still has in what is coming. */
  readonly #left: (work: Work) => number;
  readonly #drainedAtMs: number;

  constructor(scene: Scene, world: World, ends: readonly End[], left: (work: Work) => number, drainedAtMs: number) {
    this.#scene = scene;
    this.#world = world;
    this.#ends = ends;
    this.#left = left;
    this.#drainedAtMs = drainedAtMs;
  }

  /** The earliest slot of an option beside the slots given before; undefined: none is known. */
  earliest(shape: Shape, option: Option, fromMs: number, slots: readonly Slot[]): Slot | undefined {
    const walk = this.#walk(slots);
    const lease = shape.sample.leaseMs ?? Number.POSITIVE_INFINITY;
    let atMs = Math.max(fromMs, this.#scene.nowMs);
    walk.to(atMs);
    for (let step = 0; step < MAX_STEPS; step++) {
      const opensAtMs = this.#opensAt(shape, option, atMs);
      if (opensAtMs === undefined) return undefined;
      if (opensAtMs === atMs) {
        if (this.#world.fits(shape.division, option) && beside(slots, shape.division, option, atMs, atMs + lease))
          return this.#slot(shape, option, atMs, lease);
        const next = walk.nextMs();
        if (next === undefined) return undefined;
        atMs = next;
      } else atMs = opensAtMs;
      walk.to(atMs);
    }
    return undefined;
  }

  /** What is leaving has left in this world already: nobody starts on it earlier than that. */
  #slot(shape: Shape, option: Option, atMs: number, lease: number): Slot {
    const { division } = shape;
    const { present, nowMs } = this.#scene;
    const drains = atMs <= nowMs && !present.fits(division, option);
    const slotMs = drains ? Math.max(atMs, this.#drainedAtMs) : atMs;
    const usage = this.#world.usage.clone();
    usage.charge(division, option.demand);
    return { division, option, slotMs, untilMs: slotMs + lease, usage };
  }

  /** When its gates are open, `atMs` or later; undefined: what shuts one has no time. */
  #opensAt(shape: Shape, option: Option, atMs: number): number | undefined {
    let opensAtMs = atMs;
    for (const gate of gatesOf(this.#scene, shape, option, atMs)) {
      if (gate.opensAtMs === null) return undefined;
      opensAtMs = Math.max(opensAtMs, gate.opensAtMs);
    }
    return opensAtMs;
  }

  #walk(slots: readonly Slot[]) {
    const world = this.#world;
    const { coming, keeps, underWay } = this.#scene;
    world.copyFrom(coming);
    keeps.releaseFrom(world.usage);
    // What has no machine would be taken for room of those that are shut.
    for (const { division, option } of underWay.slots) world.usage.release(division, option.demand);
    underWay.shut?.openIn(world);
    const shut = new ShutRoom(world);
    for (const { division, option } of underWay.slots) world.usage.charge(division, option.demand);
    const ends = this.#ends;
    const ended = [...underWay.slots, ...slots].map((slot) => ({ atMs: slot.untilMs, slot, charges: false }));
    const begun = slots.map((slot) => ({ atMs: slot.slotMs, slot, charges: true }));
    const changes = [...begun, ...ended].sort((a, b) => a.atMs - b.atMs);
    let end = 0;
    let change = 0;
    return {
      to: (atMs: number) => {
        for (; end < ends.length && ends[end]!.atMs <= atMs; end++) {
          const { work } = ends[end]!;
          const left = this.#left(work);
          if (left === 0) continue;
          world.remove(work, left, 0);
          shut.left(work.placement.slice(0, left));
        }
        for (; change < changes.length && changes[change]!.atMs <= atMs; change++) {
          const { slot, charges } = changes[change]!;
          if (charges) world.usage.charge(slot.division, slot.option.demand);
          else world.usage.release(slot.division, slot.option.demand);
        }
      },
      nextMs: (): number | undefined => {
        const times = [end < MAX_ENDS ? ends[end]?.atMs : undefined, changes[change]?.atMs];
        const next = Math.min(...times.map((atMs) => atMs ?? Number.POSITIVE_INFINITY));
        return Number.isFinite(next) ? next : undefined;
      },
    };
  }
}

/** Does it fit beside every slot that begins while it runs? */
function beside(
  slots: readonly Slot[],
  division: number,
  { demand }: Option,
  fromMs: number,
  untilMs: number,
): boolean {
  return slots.every(({ slotMs, usage }) => slotMs <= fromMs || slotMs >= untilMs || usage.fits(division, demand));
}
