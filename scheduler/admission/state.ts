import { assert } from '../../core/assert.ts';
import type {
  BudgetInput,
  FlavourInput,
  PendingInput,
  PlannerConfig,
  RunningInput,
} from '../../pools/planner-input.ts';
import { QuotaTree } from '../../pools/quota-tree.ts';
import { Guards } from '../preemption/guards.ts';
import { Precedence } from '../preemption/precedence.ts';
import { Accounts } from './accounts.ts';
import { LeaseEnds } from './eta-profile.ts';
import { neverReasons } from './feasible.ts';
import { Heap } from './heap.ts';
import { Machines, type Placement } from './machines.ts';
import { Parking } from './parking.ts';
import { Queues } from './queues.ts';
import type { Member, Shape } from './shape.ts';
import { byQueueOrder, ShapeQueue } from './shape-queue.ts';
import { Shapes } from './shapes.ts';
import { TypicalAsks } from './typical-asks.ts';
import { demandOf, type Option, type Work, World } from './world.ts';

/** Work that is leaving, and how much of it stays. */
export interface Drain {
  readonly work: Work;
  readonly kept: number;
  /** Whom its capacity is kept for; null: for nobody. */
  readonly for: string | null;
  readonly untilMs: number | null;
}

/** A booking with a preemption pending: it is kept what its victims leave, until it starts or gives up. */
export interface Holder {
  readonly member: Member;
  /** What it was nominated for; null: not known (its victims came to be draining elsewhere). */
  readonly option: Option | null;
}

/** With all that will be there; undefined: all is. */
function wholeTree(config: PlannerConfig): QuotaTree | undefined {
  if (config.flavours.every(({ whole }) => whole === undefined)) return undefined;
  const flavours = config.flavours.map((flavour) => ({ ...flavour, capacity: flavour.whole ?? flavour.capacity }));
  return new QuotaTree({ ...config, flavours });
}

/** All that the planner of one tenant knows, and the indexes over it. */
export class State {
  readonly config: PlannerConfig;
  readonly tree: QuotaTree;
  readonly flavours: ReadonlyMap<string, FlavourInput>;
  readonly guards: Guards;
  readonly accounts: Accounts;
  readonly precedence = new Precedence();
  readonly parking: Parking;
  readonly typical = new TypicalAsks();
  readonly ends = new LeaseEnds();
  /** As it is. */
  readonly present: World;
  /** Cycles work on these. */
  readonly coming: World;
  readonly scratch: World;
  readonly works = new Map<string, Work>();
  readonly drains = new Map<string, Drain>();
  readonly members = new Map<string, Member>();
  readonly holders = new Map<string, Holder>();
  readonly queues = new Queues();
  /** Found out to be impossible, and not told yet. */
  readonly never = new Set<Member>();
  readonly #shapes: Shapes;
  readonly #active = new Map<number, Set<Work>>();
  readonly #delayed = new Heap<Member>((a, b) => a.input.notBeforeMs - b.input.notBeforeMs);
  readonly #hasMachines: boolean;
  /** Of the last cycle. */
  #nowMs = 0;

  constructor(config: PlannerConfig) {
    this.config = config;
    this.tree = new QuotaTree(config);
    this.flavours = new Map(config.flavours.map((flavour) => [flavour.id, flavour]));
    this.guards = new Guards(this.tree, config.guards, new Map(config.flavours.map(({ id, pool }) => [id, pool])));
    this.accounts = new Accounts(this.tree, config.divisions);
    this.parking = new Parking(this.tree);
    this.#hasMachines = config.nodes.length > 0;
    const machines = () => (this.#hasMachines ? new Machines(config.nodes) : null);
    this.present = new World(this.tree, machines());
    this.coming = new World(this.tree, machines());
    this.scratch = new World(this.tree, machines());
    for (const { name, queueing } of config.divisions)
      this.queues.add(this.tree.division(name)!, new ShapeQueue(queueing === 'strict'));
    // A cordon opens again: it is no reason never to start.
    const open = config.nodes.map((node) => ({ ...node, cordoned: false }));
    const empty = this.#hasMachines ? new Machines(open) : null;
    const { tree, flavours, accounts } = this;
    // And so is what is not there now.
    const limits = { tree: wholeTree(config) ?? tree, flavours, accounts };
    this.#shapes = new Shapes(config, tree, (shape) => neverReasons(limits, empty, shape));
  }

  activeOf(division: number): Iterable<Work> {
    return this.#active.get(division) ?? [];
  }

  addPending(input: PendingInput): void {
    assert(!this.members.has(input.id), `${input.id} waits already`);
    for (const id of input.leftFor ?? []) this.precedence.left(input.id, id);
    const shape = this.#shapes.of(input);
    const member: Member = { input, shape, place: 'delayed' };
    this.members.set(input.id, member);
    if (this.#hasMachines) for (const { resources, count } of input.podSets) this.typical.count(resources, count);
    if (shape.never !== null) this.never.add(member);
    else if (input.notBeforeMs <= this.#nowMs) this.enqueue(member);
    else this.#delayed.push(member);
  }

  /** Those that do not back off any more join their queues. */
  release(nowMs: number): void {
    this.#nowMs = Math.max(this.#nowMs, nowMs);
    for (let next = this.#delayed.peek(); next !== undefined; next = this.#delayed.peek()) {
      if (next.place === 'delayed') {
        if (next.input.notBeforeMs > nowMs) return;
        this.enqueue(next);
      }
      this.#delayed.pop();
    }
  }

  get nextDelayedMs(): number | null {
    return this.#delayed.peek()?.input.notBeforeMs ?? null;
  }

  /** Into its shape's queue; an older one than was tried may do more, where only newer work may be preempted. */
  enqueue(member: Member): void {
    const { shape } = member;
    const queue = this.queues.get(shape.division);
    const front = queue?.front();
    const before = shape.first();
    shape.add(member);
    if (front?.shape.holds === true && byQueueOrder(member, front) < 0) this.#letGo(front.shape);
    if (shape.state === 'parked' && before !== undefined && shape.first() === member) this.wake(shape);
    else this.queues.refresh(shape);
  }

  /** Its own past stood in its way: what holds for it does not hold for others of its shape. */
  setApart(member: Member): void {
    const apart = this.#shapes.apart(member.shape, this.precedence.leftFor(member.input.id));
    this.leaveQueue(member, 'gone');
    member.shape = apart;
    this.enqueue(member);
  }

  removePending(id: string): void {
    const member = this.members.get(id);
    if (member === undefined) return;
    this.members.delete(id);
    if (this.#hasMachines)
      for (const { resources, count } of member.input.podSets) this.typical.count(resources, -count);
    this.never.delete(member);
    const holder = this.holders.get(id);
    if (holder !== undefined) {
      this.holders.delete(id);
      if (holder.option !== null) this.parking.released(member.shape.division, holder.option.demand.cells);
    }
    this.leaveQueue(member, 'gone');
  }

  /** Out of its shape's queue; whoever stood behind it looks again. */
  leaveQueue(member: Member, to: Member['place']): void {
    const { shape } = member;
    const wasFirst = member.place === 'queued' && shape.first() === member;
    shape.remove(member, to);
    if (shape.size === 0 && to === 'gone') {
      this.parking.forget(shape);
      this.#shapes.forget(shape);
    }
    if (!wasFirst) return;
    if (shape.holds) this.#letGo(shape);
    this.queues.refresh(shape);
  }

  /** What it kept from others it keeps no more. */
  #letGo(shape: Shape): void {
    shape.holds = false;
    for (const other of this.parking.behind()) this.wake(other);
  }

  wake(shape: Shape): void {
    if (shape.state === 'parked') {
      shape.state = 'ready';
      shape.blocked = null;
      this.parking.forget(shape);
    }
    this.queues.refresh(shape);
  }

  /** `placement`: where the planner itself has put it. */
  addRunning(input: RunningInput, placement?: Placement): void {
    assert(!this.works.has(input.id), `${input.id} runs already`);
    for (const id of input.leftFor ?? []) this.precedence.left(input.id, id);
    const division = this.tree.division(input.division);
    // A division that is gone from the configuration holds nothing that could be planned with.
    if (division === undefined) return;
    const flavours = input.podSets.map(({ flavour }) => flavour);
    const demand = demandOf(this.tree, input.podSets, flavours) ?? { cells: [], amounts: [] };
    const replicas = input.podSets.reduce((sum, { count }) => sum + count, 0);
    const minReplicas = input.podSets.length === 1 ? Math.min(input.minReplicas ?? replicas, replicas) : replicas;
    const above = this.present.usage.nodesAbove(division, demand);
    this.present.usage.charge(division, demand);
    const crossed = this.present.usage
      .nodesAbove(division, demand)
      .flatMap((nodes, i) => (nodes > above[i]! ? [demand.cells[i]!] : []));
    const where = placement ?? this.#occupy(input);
    const work: Work = { input, division, demand, replicas, minReplicas, placement: where };
    this.works.set(input.id, work);
    this.accounts.charge(division, input.user, demand, input.held, 1);
    if (this.#hasMachines) for (const { resources, count } of input.podSets) this.typical.count(resources, count);
    this.ends.add(work);
    if (input.draining === null) this.#activate(work);
    else {
      const { for: whom, untilMs, toReplicas = 0 } = input.draining;
      this.drain({ work, kept: toReplicas, for: whom, untilMs });
    }
    const guardedUntilMs =
      input.draining === null ? this.guards.victimFromMs(work, this.#nowMs) : Number.POSITIVE_INFINITY;
    const woken = this.parking.started(division, crossed, guardedUntilMs, this.#nowMs);
    for (const shape of woken) this.wake(shape);
  }

  drain(drain: Drain): void {
    if (drain.for !== null) this.precedence.left(drain.work.input.id, drain.for);
    this.#active.get(drain.work.division)?.delete(drain.work);
    this.drains.set(drain.work.input.id, drain);
  }

  removeRunning(id: string): void {
    // What leaves for somebody may come again; what ends by itself does not.
    if (!this.drains.has(id)) this.forgetPast(id);
    this.#drop(id);
  }

  /** What it left for counts no more: who took care not to take that looks again. */
  forgetPast(id: string): void {
    if (!this.precedence.forget(id)) return;
    for (const shape of this.parking.sparing()) this.wake(shape);
  }

  #drop(id: string): void {
    const work = this.works.get(id);
    if (work === undefined) return;
    this.works.delete(id);
    this.drains.delete(id);
    this.#active.get(work.division)?.delete(work);
    this.ends.remove(work);
    this.present.remove(work, work.replicas, 0);
    const { input, demand, division } = work;
    this.accounts.charge(division, input.user, demand, input.held, -1);
    if (this.#hasMachines) for (const { resources, count } of input.podSets) this.typical.count(resources, -count);
    this.parking.released(division, demand.cells);
    for (const shape of this.parking.gated(division)) this.wake(shape);
  }

  updateRunning(input: RunningInput): void {
    const before = this.works.get(input.id);
    this.#drop(input.id);
    this.addRunning(input);
    // A lease, a checkpoint or a drain that changed may let somebody preempt, or move a slot.
    if (before === undefined) return;
    for (const shape of this.parking.loosened(before.division)) this.wake(shape);
    for (const shape of this.parking.behind()) this.wake(shape);
  }

  setBudget(division: string, budget: BudgetInput): void {
    this.accounts.setBudget(division, budget);
    const node = this.tree.division(division);
    if (node !== undefined) for (const shape of this.parking.gated(node)) this.wake(shape);
  }

  /** Takes over what waits and runs under another configuration. */
  takeOver(before: State): void {
    this.guards.takeOver(before.guards);
    this.precedence.takeOver(before.precedence);
    for (const work of before.works.values()) {
      const drain = before.drains.get(work.input.id);
      const draining = drain === undefined ? null : { for: drain.for, untilMs: drain.untilMs, toReplicas: drain.kept };
      this.addRunning({
        ...work.input,
        draining,
        podSets: this.#hasMachines ? before.withNodes(work) : work.input.podSets,
      });
    }
    for (const { input } of before.members.values()) this.addPending(input);
    for (const [id, { member }] of before.holders) {
      const taken = this.members.get(id)!;
      if (taken.shape.never !== null) continue;
      if (member.place === 'holder') taken.place = 'holder';
      this.holders.set(id, { member: taken, option: null });
    }
  }

  withNodes({ input, placement }: Work): RunningInput['podSets'] {
    const { machines } = this.present;
    if (machines === null) return input.podSets;
    let at = 0;
    return input.podSets.map((podSet) => {
      if (!machines.has(podSet.flavour)) return podSet;
      const nodes = machines.shares(placement.slice(at, at + podSet.count));
      at += podSet.count;
      return { ...podSet, nodes };
    });
  }

  #activate(work: Work): void {
    const active = this.#active.get(work.division) ?? new Set<Work>();
    this.#active.set(work.division, active.add(work));
  }

  #occupy({ podSets }: RunningInput): Placement {
    const { machines } = this.present;
    if (machines === null) return [];
    return podSets.flatMap(({ flavour, resources, nodes }) =>
      nodes === null ? [] : machines.occupy(flavour, resources, nodes),
    );
  }
}
