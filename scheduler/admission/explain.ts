import type { Explanation, WaitReason } from './decision.ts';
import { DivisionLine, MAX_BEFORE } from './division-line.ts';
import type { Profile, Slot } from './eta-profile.ts';
import { type Nomination, nominate, type Verdict } from './nominate.ts';
import { awaiting, byRank, keptReason, outrunReason, reason, reasonsFor } from './reasons.ts';
import type { Member } from './shape.ts';
import { smallestChange } from './smallest-change.ts';
import { type Stage, setStage } from './stage.ts';
import type { State } from './state.ts';
import type { Option } from './world.ts';

/**
 * Why bookings are where they are, when they would start, and the least that would let each start now: of one instant, while the state does not
 * change. What is asked about one more of the same division costs what is its own.
 */
export class Explainer {
  readonly #state: State;
  readonly #nowMs: number;
  readonly #lastHeads: ReadonlyMap<number, string>;
  readonly #nominations = new Map<Member, Nomination>();
  #set: Stage | undefined;
  /** Of the division that was asked about last: each of its slots is a copy of the tree's usage. */
  #line: { readonly division: number; readonly line: DivisionLine } | undefined;
  #byDivision: ReadonlyMap<number, readonly Member[]> | undefined;

  constructor(state: State, nowMs: number, lastHeads: ReadonlyMap<number, string>) {
    this.#state = state;
    this.#nowMs = nowMs;
    this.#lastHeads = lastHeads;
  }

  of(id: string): Explanation {
    const state = this.#state;
    const member = state.members.get(id);
    if (member === undefined) {
      const drain = state.drains.has(id);
      const known = drain ? 'draining' : state.works.has(id) ? 'running' : 'unknown';
      return { id, state: known, reasons: [], etaMs: null, smallestChange: null, position: null };
    }
    const { shape } = member;
    if (shape.never !== null)
      return { id, state: 'waiting', reasons: shape.never, etaMs: null, smallestChange: null, position: null };
    const held = this.#stage.holders.find(({ holder }) => holder.member === member);
    return held === undefined ? this.#ofQueued(member) : this.#ofHolder(member, held.nomination);
  }

  #ofHolder({ input: { id }, shape }: Member, { verdict: { option, rank }, tried }: Nomination): Explanation {
    const state = this.#state;
    const drains = [...state.drains.values()].filter((drain) => drain.for === id);
    const untilMs = drains.reduce((until, drain) => Math.max(until, drain.untilMs ?? this.#nowMs), this.#nowMs);
    const wants = rank === 'blocked' ? reasonsFor(state, this.#stage.scene, shape, tried) : [];
    return {
      id,
      state: 'waiting',
      reasons: [awaiting(state, id, option), ...wants],
      etaMs: rank === 'blocked' ? null : untilMs,
      smallestChange: null,
      position: 1,
    };
  }

  #ofQueued(member: Member): Explanation {
    const { input, shape } = member;
    const { verdict, tried } = this.#nominated(member);
    const before = this.#lineOf(shape.division).before(member);
    const isLooked = this.#lastHeads.get(shape.division) === input.id;
    const reasons = [
      ...standing(this.#state, this.#stage, member, this.#lastHeads),
      ...verdictsTold(this.#state, this.#stage, member, verdict, tried, isLooked),
      ...farBack(shape.config.name, before),
    ];
    const change = verdict.rank === 'blocked' ? smallestChange(this.#stage.scene, shape, tried) : null;
    const position = before + 1;
    const etaMs = this.#etaOf(member, verdict);
    return { id: input.id, state: 'waiting', reasons: reasons.sort(byRank), etaMs, smallestChange: change, position };
  }

  /** Its slot behind those before it, if every lease runs out and nobody else comes. */
  #etaOf(member: Member, verdict: Verdict): number | null {
    const slots = this.#lineOf(member.shape.division).slotsBefore(member);
    if (slots === undefined) return null;
    if (verdict.rank === 'reclaim' || verdict.rank === 'preempt') return this.#nowMs;
    const options = verdict.rank === 'blocked' ? wholeOptions(this.#nominated(member), member) : [verdict.option];
    return earliestOf(this.#stage.profile(), member, options, slots)?.slotMs ?? null;
  }

  get #stage(): Stage {
    this.#set ??= setStage(this.#state, this.#nowMs);
    return this.#set;
  }

  #nominated(member: Member): Nomination {
    const known = this.#nominations.get(member) ?? nominate(this.#stage.scene, member);
    this.#nominations.set(member, known);
    return known;
  }

  #lineOf(division: number): DivisionLine {
    if (this.#line?.division === division) return this.#line.line;
    const { scene, profile } = this.#stage;
    const { strict } = this.#state.queues.get(division)!;
    const reserved = scene.backfill.pins().filter((pin) => pin.member === null);
    const line = new DivisionLine(this.#members(division), strict, reserved, (member, before) =>
      earliestOf(profile(), member, wholeOptions(this.#nominated(member), member), before),
    );
    this.#line = { division, line };
    return line;
  }

  #members(division: number): readonly Member[] {
    this.#byDivision ??= Map.groupBy(
      [...this.#state.members.values()].filter(({ shape }) => shape.never === null),
      ({ shape }) => shape.division,
    );
    return this.#byDivision.get(division) ?? [];
  }
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

/** All of it, on each flavour that was looked at. */
function wholeOptions({ verdict, tried }: Nomination, { shape }: Member): readonly Option[] {
  const whole = shape.sample.podSets.length;
  return [verdict, ...tried].map(({ option }) => option).filter(({ podSets }) => podSets.length === whole);
}

function earliestOf(
  walk: Profile,
  member: Member,
  options: readonly Option[],
  slots: readonly Slot[],
): Slot | undefined {
  let best: Slot | undefined;
  for (const option of options) {
    const slot = walk.earliest(member.shape, option, member.input.notBeforeMs, slots);
    if (slot !== undefined && (best === undefined || slot.slotMs < best.slotMs)) best = slot;
  }
  return best;
}
