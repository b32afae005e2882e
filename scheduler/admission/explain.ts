import type { Explanation, SmallestChange, WaitReason } from './decision.ts';
import type { Slot } from './eta-profile.ts';
import { nominate, type Verdict } from './nominate.ts';
import { awaiting, byRank, keptReason, outrunReason, reason, reasonsFor } from './reasons.ts';
import type { Member } from './shape.ts';
import { byQueueOrder } from './shape-queue.ts';
import { smallestChange } from './smallest-change.ts';
import { type Stage, setStage } from './stage.ts';
import type { State } from './state.ts';

/** Bookings before one in its division whose slots are worked out for its own, each beside all before it: the work grows by their square. */
const MAX_BEFORE = 200;

/** Why a booking is where it is, when it would start, and the least that would let it start now. Changes nothing. */
export function explain(state: State, id: string, nowMs: number, lastHeads: ReadonlyMap<number, string>): Explanation {
  const member = state.members.get(id);
  if (member === undefined) {
    const drain = state.drains.has(id);
    const known = drain ? 'draining' : state.works.has(id) ? 'running' : 'unknown';
    return { id, state: known, reasons: [], etaMs: null, smallestChange: null, position: null };
  }
  const { shape } = member;
  if (shape.never !== null)
    return { id, state: 'waiting', reasons: shape.never, etaMs: null, smallestChange: null, position: null };
  const stage = setStage(state, nowMs);
  const held = stage.holders.find(({ holder }) => holder.member === member);
  const before = beforeOf(state, member);
  const position = before.length + 1;
  if (held !== undefined) {
    const { option, rank } = held.nomination.verdict;
    const drains = [...state.drains.values()].filter((drain) => drain.for === id);
    const untilMs = drains.reduce((until, drain) => Math.max(until, drain.untilMs ?? nowMs), nowMs);
    const reasons = [awaiting(state, id, option)];
    const wants = rank === 'blocked' ? reasonsFor(state, stage.scene, shape, held.nomination.tried) : [];
    return {
      id,
      state: 'waiting',
      reasons: [...reasons, ...wants],
      etaMs: rank === 'blocked' ? null : untilMs,
      smallestChange: null,
      position: 1,
    };
  }
  const { verdict, tried } = nominate(stage.scene, member);
  const isLooked = lastHeads.get(shape.division) === id;
  const reasons = [
    ...standing(state, stage, member, lastHeads),
    ...verdictsTold(state, stage, member, verdict, tried, isLooked),
    ...farBack(shape.config.name, before.length),
  ];
  const etaMs = eta(state, stage, member, before, verdict);
  const change: SmallestChange | null = verdict.rank === 'blocked' ? smallestChange(stage.scene, shape, tried) : null;
  return { id, state: 'waiting', reasons: reasons.sort(byRank), etaMs, smallestChange: change, position };
}

/** Whoever stands further back than starts are worked out is told no time, and that. */
function farBack(division: string, before: number): readonly WaitReason[] {
  if (before <= MAX_BEFORE) return [];
  const text = `${before} of ${division} go before it; starts are reckoned behind at most ${MAX_BEFORE}, so that it is told none`;
  return [reason('far_back', null, null, null, [], text)];
}

function verdictsTold(
  state: State,
  { scene }: Stage,
  { shape, input }: Member,
  verdict: Verdict,
  tried: readonly Verdict[],
  /** The last cycle had it as a head. */
  isLooked: boolean,
): readonly WaitReason[] {
  if (verdict.rank === 'drain') return [awaiting(state, input.id, verdict.option)];
  // It would fit, and is parked all the same: a front of another division keeps the room in its turn.
  if (verdict.rank !== 'blocked' && (shape.state === 'parked' || isLooked)) {
    const kept = keptReason(state, scene, shape, verdict.option);
    return [shape.state === 'parked' || kept.holders.length > 0 ? kept : outrunReason(verdict.option)];
  }
  return verdict.rank === 'blocked' ? reasonsFor(state, scene, shape, tried) : [];
}

/** Why it is not its turn. */
function standing(
  state: State,
  { scene }: Stage,
  member: Member,
  lastHeads: ReadonlyMap<number, string>,
): readonly WaitReason[] {
  const { input, shape, place } = member;
  if (place === 'delayed' && input.notBeforeMs > scene.nowMs) {
    const text = `backs off until ${new Date(input.notBeforeMs).toISOString()}`;
    return [reason('backing_off', null, null, null, [], text)];
  }
  const queue = state.queues.get(shape.division)!;
  const front = queue.front();
  const first = shape.first();
  const ahead =
    queue.strict && front !== undefined && front !== member
      ? front.input.id
      : first !== undefined && first !== member
        ? first.input.id
        : shape.state === 'ready'
          ? lastHeads.get(shape.division)
          : undefined;
  if (ahead === undefined || ahead === input.id) return [];
  const text = `${ahead} is the head of ${shape.config.name}`;
  return [reason('not_head', null, null, null, [ahead], text)];
}

/** Those of its division that go before it. */
function beforeOf(state: State, member: Member): readonly Member[] {
  const { division } = member.shape;
  const before: Member[] = [];
  for (const other of state.members.values()) {
    if (other.shape.division !== division || other === member || other.shape.never !== null) continue;
    if (other.place === 'holder' || byQueueOrder(other, member) < 0) before.push(other);
  }
  return before;
}

/** Its slot behind those before it, if every lease runs out and nobody else comes. */
function eta(
  state: State,
  { scene, profile, holders }: Stage,
  member: Member,
  before: readonly Member[],
  verdict: Verdict,
): number | null {
  if (before.length > MAX_BEFORE) return null;
  const walk = profile();
  const slots: Slot[] = [];
  const { strict } = state.queues.get(member.shape.division)!;
  const others = scene.backfill.pins().filter((pin) => pin.member === null);
  slots.push(...others);
  for (const other of [...before].sort(byQueueOrder)) {
    if (holders.some(({ holder }) => holder.member === other)) continue;
    const slot = earliestOf(walk, other, nominateOptions(scene, other), slots, 0);
    if (slot !== undefined) slots.push(slot);
    else if (strict) return null;
  }
  const options = verdict.rank === 'blocked' ? nominateOptions(scene, member) : [verdict.option];
  const fromMs = verdict.rank === 'reclaim' || verdict.rank === 'preempt' ? null : 0;
  if (fromMs === null) return scene.nowMs;
  return earliestOf(walk, member, options, slots, fromMs)?.slotMs ?? null;
}

function nominateOptions(scene: Stage['scene'], member: Member) {
  const { verdict, tried } = nominate(scene, member);
  const whole = member.shape.sample.podSets.length;
  return [verdict, ...tried].map(({ option }) => option).filter(({ podSets }) => podSets.length === whole);
}

function earliestOf(
  walk: ReturnType<Stage['profile']>,
  member: Member,
  options: Stage['holders'][number]['nomination']['verdict']['option'][],
  slots: readonly Slot[],
  fromMs: number,
): Slot | undefined {
  let best: Slot | undefined;
  for (const option of options) {
    const slot = walk.earliest(member.shape, option, Math.max(fromMs, member.input.notBeforeMs), slots);
    if (slot !== undefined && (best === undefined || slot.slotMs < best.slotMs)) best = slot;
  }
  return best;
}
