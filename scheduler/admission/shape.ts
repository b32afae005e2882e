import type { DivisionInput, FlavourInput, Interval, PendingInput, PodSet } from '../../pools/planner-input.ts';
import type { WaitReason } from './decision.ts';
import { Heap } from './heap.ts';
import type { Option } from './world.ts';

/** A booking in its shape's queue. */
export interface Member {
  readonly input: PendingInput;
  shape: Shape;
  /** queued: in its shape's queue · delayed: backs off · holder: taken out, with a preemption pending. */
  place: 'queued' | 'delayed' | 'holder' | 'gone';
}

/** Why a shape does not start, as its last attempt found it. */
export interface Blocked {
  /** The option that it would take, were there room. */
  readonly option: Option;
  /** The option that it can start with the earliest: of an elastic booking the least of it. */
  readonly least: Option;
  /** Room is all it lacks: as the first of its division it keeps what is its own, and pins its slot. */
  readonly byRoom: boolean;
}

const byAge = (a: Member, b: Member): number =>
  a.input.createdAtMs - b.input.createdAtMs || (a.input.id < b.input.id ? -1 : a.input.id > b.input.id ? 1 : 0);

/** Lazily removed members are swept when they are more than this and more than half. */
const SWEEP_AT = 64;

/** Bookings that ask for the same in the same name: what is found out about the oldest holds for all. */
export class Shape {
  readonly key: string;
  /** Node of the quota tree. */
  readonly division: number;
  readonly config: DivisionInput;
  /** In the order to try. */
  readonly flavours: readonly FlavourInput[];
  /** Of those who take nothing that they left for, where that stood in their way. */
  readonly isApart: boolean;
  readonly sample: PendingInput;
  /** Replicas of all pod sets. */
  readonly replicas: number;
  /** Why it can never start; null: it can. */
  never: readonly WaitReason[] | null = null;
  state: 'ready' | 'parked' = 'ready';
  blocked: Blocked | null = null;
  /** Its first keeps quota or a slot from others. */
  holds = false;
  /** Counts parkings: what was left in an index by an earlier one is stale. */
  parking = 0;
  /** What its division's heaps know of it. */
  inReady: Member | null = null;
  inAll: Member | null = null;
  readonly #members = new Heap<Member>(byAge);
  #live = 0;

  constructor(
    key: string,
    division: number,
    config: DivisionInput,
    flavours: readonly FlavourInput[],
    sample: PendingInput,
    isApart = false,
  ) {
    this.key = key;
    this.division = division;
    this.config = config;
    this.flavours = flavours;
    this.sample = sample;
    this.isApart = isApart;
    this.replicas = sample.podSets.reduce((sum, { count }) => sum + count, 0);
  }

  get size(): number {
    return this.#live;
  }

  get minReplicas(): number {
    return this.sample.podSets.length === 1 ? (this.sample.minReplicas ?? this.replicas) : this.replicas;
  }

  podSetsFor(replicas: number): readonly PodSet[] {
    const { podSets } = this.sample;
    return replicas === this.replicas ? podSets : [{ ...podSets[0]!, count: replicas }];
  }

  get startWithin(): readonly Interval[] | null {
    return this.sample.startWithin;
  }

  add(member: Member): void {
    member.place = 'queued';
    this.#members.push(member);
    this.#live++;
  }

  remove(member: Member, to: Member['place']): void {
    if (member.place === 'queued') this.#live--;
    member.place = to;
    const stale = this.#members.size - this.#live;
    if (stale > SWEEP_AT && stale > this.#live) this.#members.filter((one) => one.place === 'queued');
  }

  /** The oldest. */
  first(): Member | undefined {
    for (;;) {
      const first = this.#members.peek();
      if (first === undefined || first.place === 'queued') return first;
      this.#members.pop();
    }
  }

  members(): Iterable<Member> {
    return Iterator.from(this.#members.values()).filter((member) => member.place === 'queued');
  }
}

/** Equal keys: equal asks of one division. Neither age nor what a booking left for is part of it. */
export function shapeKey(input: PendingInput): string {
  const podSets = input.podSets.map(({ count, resources }) => {
    const amounts = Object.keys(resources)
      .sort()
      .map((resource) => `${resource}=${resources[resource]}`);
    return `${count}*${amounts.join('+')}`;
  });
  const within = input.startWithin?.map(({ fromMs, untilMs }) => `${fromMs}-${untilMs}`).join();
  return [
    input.division,
    input.priority,
    podSets.join('|'),
    input.minReplicas,
    input.flavours?.join('|'),
    input.leaseMs,
    input.user,
    input.maxCostMinor,
    input.preferPrice,
    within,
  ].join('\u0000');
}
