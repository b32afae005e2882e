import { Backfill, MAX_PINS, type Pin } from './backfill.ts';
import { Profile, type Slot } from './eta-profile.ts';
import { Keeps } from './keeps.ts';
import { type Nomination, nominateHolder } from './nominate.ts';
import type { Scene, UnderWay } from './scene.ts';
import type { Member } from './shape.ts';
import { byQueueOrder } from './shape-queue.ts';
import { ShutRoom } from './shut-room.ts';
import type { Holder, State } from './state.ts';
import { demandOf } from './world.ts';

/** The scene of one instant, and what its holders were given in it. */
export interface Stage {
  readonly scene: Scene;
  readonly profile: () => Profile;
  /** In the order of the queue, each with its nomination; what it may have is charged in what is coming. */
  /** Blocked earlier, and the first of their divisions: in their turn they keep what is theirs and could not be won back. */
  readonly fronts: readonly Member[];
  readonly holders: readonly { readonly holder: Holder; readonly nomination: Nomination }[];
}

/**
 * Sets up what a cycle, or a question, looks at: what is leaving has left, pending preemptors have come, and the blocked fronts of the
 * divisions hold their slots.
 */
export function setStage(state: State, nowMs: number): Stage {
  const { tree, present, coming } = state;
  coming.copyFrom(present);
  let drainedAtMs = nowMs;
  for (const { work, kept, untilMs } of state.drains.values()) {
    coming.remove(work, work.replicas, kept);
    drainedAtMs = Math.max(drainedAtMs, untilMs ?? nowMs);
  }
  const keeps = new Keeps(coming.usage);
  const left = (work: { readonly input: { readonly id: string }; readonly replicas: number }) =>
    state.drains.get(work.input.id)?.kept ?? work.replicas;
  const profile = () => new Profile(scene, state.scratch, state.ends.inOrder, left, drainedAtMs);
  const promised = promisedFrom(state, nowMs);
  const scene: Scene = {
    tree,
    nowMs,
    present,
    coming,
    flavours: state.flavours,
    accounts: state.accounts,
    guards: state.guards,
    precedence: state.precedence,
    typical: state.typical.top(),
    works: (division) => state.activeOf(division),
    strategies: state.config.fairSharing.enabled ? state.config.fairSharing.strategies : null,
    keeps,
    backfill: new Backfill(() => scene, profile, pinsOf(state, promised, nowMs)),
    underWay: begin(state, promised, nowMs),
  };
  const holders = earmark(state, scene);
  for (const front of state.queues.blockedFronts(MAX_PINS)) scene.backfill.block(front, front.shape.blocked!.least);
  return { scene, profile, holders, fronts: state.queues.keepingFronts() };
}

/** What holders were given before is theirs before anybody is nominated anew. */
function earmark(state: State, scene: Scene): Stage['holders'] {
  adoptHolders(state);
  const { coming, typical } = scene;
  const holders = [...state.holders.values()].sort((a, b) => byQueueOrder(a.member, b.member));
  const given = new Map<Holder, ReturnType<typeof coming.charge>>();
  for (const holder of holders) {
    const { option, member } = holder;
    if (option !== null && coming.fits(member.shape.division, option))
      given.set(holder, coming.charge(member.shape.division, option, typical));
  }
  return holders.map((holder) => {
    const { division } = holder.member.shape;
    const placement = given.get(holder);
    if (placement !== undefined) coming.release(division, holder.option!, placement);
    const nomination = nominateHolder(scene, holder.member, holder.option);
    const { rank, option } = nomination.verdict;
    if (rank === 'nominal' || rank === 'borrow' || rank === 'drain') coming.charge(division, option, typical);
    return { holder, nomination };
  });
}

/** Whoever work is draining for is a holder, wherever that was decided. */
function adoptHolders(state: State): void {
  for (const drain of state.drains.values()) {
    if (drain.for === null || state.holders.has(drain.for)) continue;
    const member = state.members.get(drain.for);
    if (member === undefined || member.place !== 'queued') continue;
    state.leaveQueue(member, 'holder');
    state.holders.set(drain.for, { member, option: null });
  }
}

type Promised = Omit<Slot, 'usage'> & { readonly id: string };

/** Advance bookings that are not over; they go before everybody. */
function promisedFrom({ tree, config }: State, nowMs: number): readonly Promised[] {
  return config.reservations.flatMap(({ id, division: name, flavour, amounts, fromMs, untilMs }) => {
    const division = tree.division(name);
    const podSets = [{ count: 1, resources: amounts }];
    const demand = demandOf(tree, podSets, [flavour]);
    if (division === undefined || demand === undefined || untilMs <= nowMs) return [];
    return [{ id, division, option: { flavours: [flavour], podSets, demand }, slotMs: fromMs, untilMs }];
  });
}

/** Those under way are charged: in the room that can be given, not in that of machines that are shut. */
function begin({ coming }: State, promised: readonly Promised[], nowMs: number): UnderWay {
  const slots = promised.filter(({ slotMs }) => slotMs <= nowMs).map((one) => ({ ...one, usage: coming.usage }));
  const shut = slots.length === 0 ? null : new ShutRoom(coming);
  for (const { division, option } of slots) coming.usage.charge(division, option.demand);
  return { slots, shut };
}

/** Later ones are pins: what is used as each begins, by those that begin with it or are under way then, too. */
function pinsOf({ present, scratch, ends }: State, promised: readonly Promised[], nowMs: number): readonly Pin[] {
  return promised
    .filter(({ slotMs }) => slotMs > nowMs)
    .map((one): Pin => {
      scratch.copyFrom(present);
      const shut = new ShutRoom(scratch);
      for (const { atMs, work } of ends.inOrder) {
        if (atMs > one.slotMs) break;
        scratch.remove(work, work.replicas, 0);
        shut.left(work.placement);
      }
      const usage = scratch.usage.clone();
      for (const { division, option, slotMs, untilMs } of promised)
        if (slotMs <= one.slotMs && untilMs > one.slotMs) usage.charge(division, option.demand);
      return { ...one, usage, member: null, level: 0 };
    });
}
