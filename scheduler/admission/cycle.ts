import type { Victim } from '../preemption/candidates.ts';
import { Removals } from '../preemption/removals.ts';
import type { Admission, Preempted } from './decision.ts';
import type { Placement } from './machines.ts';
import { judge, type Nomination, nominate, type Verdict } from './nominate.ts';
import { type Entry, Order } from './order.ts';
import type { Scene } from './scene.ts';
import type { Blocked, Member } from './shape.ts';
import { type Stage, setStage } from './stage.ts';
import { start } from './start.ts';
import type { Holder, State } from './state.ts';
import type { Option, Work } from './world.ts';

/** What became of a head. */
export type Fate =
  /** Its victims, or others', still have to leave. */
  | { readonly kind: 'awaiting'; readonly option: Option }
  | { readonly kind: 'blocked'; readonly nomination: Nomination }
  /** It would have been let in, but for somebody before it in this cycle. */
  | { readonly kind: 'outrun'; readonly nomination: Nomination };

export interface CycleOutcome {
  readonly admitted: readonly Admission[];
  readonly preempted: readonly Preempted[];
  readonly waiting: ReadonlyMap<Member, Fate>;
  readonly again: boolean;
  /** As the cycle left it. */
  readonly scene: Scene;
}

/** One admission cycle: heads, nominate, order, admit, requeue. Changes the state by what it decides. */
export function runCycle(state: State, nowMs: number): CycleOutcome {
  state.release(nowMs);
  for (const shape of state.parking.woken(state.present.usage, nowMs)) state.wake(shape);
  return new Cycle(state, setStage(state, nowMs)).run();
}

class Cycle {
  readonly #state: State;
  readonly #stage: Stage;
  readonly #scene: Scene;
  readonly #admitted: Admission[] = [];
  readonly #preempted: Preempted[] = [];
  readonly #waiting = new Map<Member, Fate>();
  readonly #taken = new Set<Work>();
  #order: Order | undefined;
  #parked = false;
  /** A front that was blocked before this cycle keeps something: nobody else moved in the way of whom that stops. */
  #frontKept = false;
  readonly #lost = new Set<Member>();

  constructor(state: State, stage: Stage) {
    this.#state = state;
    this.#stage = stage;
    this.#scene = stage.scene;
  }

  run(): CycleOutcome {
    const { tree, coming, strategies } = this.#scene;
    // Holders go first. What each may have is charged already.
    for (const { holder, nomination } of this.#stage.holders) this.#actHolder(holder, nomination);
    const entries = this.#heads().map((member): Entry => ({ member, nomination: nominate(this.#scene, member) }));
    for (const member of this.#stage.fronts) {
      // Whoever a holder's start has woken is a head by now.
      if (member.shape.state !== 'parked' || member.shape.blocked === null) continue;
      entries.push({ member, nomination: asBlocked(this.#scene, member, member.shape.blocked.option), isFront: true });
    }
    this.#order = new Order(tree, coming.usage, strategies !== null, entries);
    for (let entry = this.#order.next(); entry !== undefined; entry = this.#order.next()) this.#act(entry);
    const moved = this.#admitted.length > 0 || this.#preempted.length > 0 || this.#parked;
    return {
      admitted: this.#admitted,
      preempted: this.#preempted,
      waiting: this.#waiting,
      again: moved && this.#heads().length > 0,
      scene: this.#scene,
    };
  }

  #heads(): Member[] {
    const { holders, queues } = this.#state;
    return queues.heads(new Set([...holders.values()].map(({ member }) => member.shape.division)));
  }

  #actHolder(holder: Holder, nomination: Nomination): void {
    const { member } = holder;
    const { rank, option } = nomination.verdict;
    const { holders, drains } = this.#state;
    if (rank === 'nominal' || rank === 'borrow') {
      // Its charge in what is coming becomes that of running work.
      this.#admit(member, option, false);
      return;
    }
    if (rank === 'drain') {
      holders.set(member.input.id, { member, option });
      this.#waiting.set(member, { kind: 'awaiting', option });
      return;
    }
    if (rank !== 'blocked') {
      this.#preempt({ member, nomination });
      return;
    }
    this.#waiting.set(member, { kind: 'blocked', nomination });
    const isAwaited = [...drains.values()].some((drain) => drain.for === member.input.id);
    if (isAwaited) {
      holders.set(member.input.id, { member, option: null });
      return;
    }
    // Nothing is leaving for it any more, and it does not fit: it waits like everybody.
    holders.delete(member.input.id);
    this.#state.enqueue(member);
    this.#block(member, nomination);
  }

  #act(entry: Entry): void {
    const { member, nomination } = entry;
    const { verdict } = nomination;
    if (entry.isFront === true) {
      this.#keep(member, verdict.option);
      this.#frontKept = true;
      return;
    }
    switch (verdict.rank) {
      case 'nominal':
      case 'borrow':
      case 'drain':
        this.#take(entry);
        return;
      case 'reclaim':
      case 'preempt':
        this.#preempt(entry);
        return;
      case 'blocked':
        this.#waiting.set(member, { kind: 'blocked', nomination });
        this.#block(member, nomination);
    }
  }

  /** It was nominated to start without a preemption: is there still room? */
  #take(entry: Entry): void {
    const { member, nomination } = entry;
    const { option, level } = nomination.verdict;
    const { shape } = member;
    const { coming, present, keeps, backfill } = this.#scene;
    const pin = keeps.without(shape.division, () => {
      if (!coming.fits(shape.division, option)) return null;
      return backfill.delayed(member, option, level) ?? undefined;
    });
    if (pin !== undefined) this.#lose(entry, pin !== null);
    else if (present.fits(shape.division, option)) this.#admit(member, option, true);
    else this.#defer(member, option);
  }

  /** It fits once others' victims have left. */
  #defer(member: Member, option: Option): void {
    const { shape } = member;
    this.#charge(shape.division, option);
    this.#waiting.set(member, { kind: 'awaiting', option });
    if (member.place === 'holder') return;
    this.#state.parking.parkBehind(shape);
    this.#state.queues.refresh(shape);
    this.#parked = true;
  }

  /** There is no room for it any more. Whom only a front stops, or a slot, looks for another way at once; of others the next cycle decides. */
  #lose(entry: Entry, byFront: boolean): void {
    const { member } = entry;
    if ((byFront || this.#frontKept) && !this.#lost.has(member) && member.place !== 'holder') {
      this.#lost.add(member);
      this.#act({ member, nomination: nominate(this.#scene, member) });
    } else this.#outrun(entry);
  }

  /** Whoever is outrun keeps what is its own, and is looked at again in the next cycle. */
  #outrun({ member, nomination }: Entry): void {
    this.#waiting.set(member, { kind: 'outrun', nomination });
    this.#keep(member, nomination.verdict.option);
  }

  /** For the rest of the cycle borrowers leave it what is its division's own, unless it could win that back. */
  #keep({ shape }: Member, option: Option): void {
    const { division, config } = shape;
    const { keeps } = this.#scene;
    if (config.preemption.reclaim === 'any' || keeps.has(division)) return;
    keeps.keep(division, option.demand);
    this.#order?.touch(division);
  }

  #preempt(entry: Entry): void {
    const { member, nomination } = entry;
    const verdict = nomination.verdict.victims.some(({ work }) => this.#taken.has(work))
      ? this.#again(member, nomination.verdict.option)
      : nomination.verdict;
    if (verdict.rank === 'blocked') this.#lose(entry, false);
    else if (verdict.victims.length === 0) this.#defer(member, verdict.option);
    else {
      const { shape } = member;
      const found = this.#scene.keeps.without(shape.division, () => this.#remove(shape.division, verdict));
      if (found === undefined) this.#lose(entry, false);
      else if (found.length === 0) this.#defer(member, verdict.option);
      else this.#start(member, verdict.option, found);
    }
  }

  /** Its victims were taken by somebody before it: the same option, in what is coming now. */
  #again(member: Member, option: Option): Verdict {
    return this.#scene.keeps.without(member.shape.division, () => judge(this.#scene, member, option));
  }

  /** The victims that are still needed, gone from what is coming; undefined: even all of them do not help any more. */
  #remove(division: number, { option, victims, endsWithin = false }: Verdict): readonly Victim[] | undefined {
    const { coming, guards, nowMs } = this.#scene;
    const removals = new Removals(coming);
    for (const { work, kept } of victims) while (removals.keptOf(work) > kept) removals.step(work);
    const fits = () =>
      coming.fits(division, option) && (!endsWithin || coming.usage.withinNominal(division, option.demand));
    if (fits()) {
      removals.minimal(fits);
      const needed = removals.victims();
      if (
        guards.allowedFromMs(
          needed.map(({ work }) => work),
          nowMs,
        ) <= nowMs
      )
        return needed;
    }
    removals.undo();
    return undefined;
  }

  /** The victims are gone from what is coming; now they are told to go. */
  #start(member: Member, option: Option, victims: readonly Victim[]): void {
    const { guards, nowMs } = this.#scene;
    const { input, shape } = member;
    guards.take(
      victims.map(({ work }) => work),
      nowMs,
    );
    for (const { work, kept } of victims) {
      const untilMs = nowMs + guards.graceMs(work);
      this.#state.drain({ work, kept, for: input.id, untilMs });
      this.#taken.add(work);
      this.#order?.touch(work.division);
      const how = kept === 0 ? 'evict' : 'shrink';
      this.#preempted.push({ id: work.input.id, for: input.id, how, keptReplicas: kept });
    }
    this.#charge(shape.division, option);
    this.#waiting.set(member, { kind: 'awaiting', option });
    this.#state.leaveQueue(member, 'holder');
    this.#state.holders.set(input.id, { member, option });
    this.#state.queues.refresh(shape);
  }

  #block(member: Member, nomination: Nomination): void {
    this.#parked = true;
    const past = nomination.tried.some(({ block }) => block?.notes?.spared === true);
    if (past && !member.shape.isApart) this.#state.setApart(member);
    const { shape } = member;
    shape.blocked = blockedAs(nomination);
    if (shape.state === 'ready') this.#state.parking.park(shape, nomination);
    this.#state.queues.refresh(shape);
    const front = this.#state.queues.get(shape.division)?.front();
    if (front !== member || !shape.blocked.byRoom) return;
    shape.holds = true;
    this.#keep(member, shape.blocked.option);
    this.#scene.backfill.block(member, shape.blocked.least);
  }

  #charge(division: number, option: Option): Placement {
    const { coming, keeps, typical } = this.#scene;
    const placement = keeps.without(division, () => coming.charge(division, option, typical));
    this.#order?.touch(division);
    return placement;
  }

  #admit(member: Member, option: Option, isNew: boolean): void {
    if (isNew) this.#charge(member.shape.division, option);
    this.#admitted.push(start(this.#state, this.#scene, member, option));
  }
}

/** A front as it was found blocked: its turn comes in the order of the others. */
function asBlocked({ coming }: Scene, { shape }: Member, option: Option): Nomination {
  const level = coming.usage.borrowingLevel(shape.division, option.demand);
  return { verdict: { option, rank: 'blocked', victims: [], level, block: null }, tried: [] };
}

/** What a blocked shape waits for: of the options that only lack room the first. */
function blockedAs({ verdict, tried }: Nomination): Blocked {
  const lacksRoom = ({ block, option }: Verdict) =>
    block !== null &&
    !block.never &&
    block.gates.length === 0 &&
    option.podSets.length === verdict.option.podSets.length;
  const room = [verdict, ...tried].find(lacksRoom);
  // Of a blocked elastic booking what was tried is its least, and so is its ETA.
  const least = tried.includes(verdict) ? room : (tried.find(lacksRoom) ?? room);
  const option = room?.option ?? verdict.option;
  return { option, least: least?.option ?? option, byRoom: room !== undefined };
}
