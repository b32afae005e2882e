import type { Amounts, NodeInput, NodeShare } from '../../pools/planner-input.ts';
import type { TypicalAsk } from './typical-asks.ts';

/** The resource that is counted in devices: a part of one is a part of the same one. */
const DEVICES = 'gpu';
const DEVICE = 1000;

interface Machine {
  readonly name: string;
  readonly flavour: string;
  readonly cordoned: boolean;
  readonly firstDevice: number;
  readonly devices: number;
}

/** A replica on a machine: what it takes of which device, and of the other resources. */
interface Replica {
  readonly machine: number;
  readonly devices: readonly (readonly [device: number, amount: number])[];
  readonly others: Amounts;
}

/** A typical ask, ready to be held against machines. */
interface Reach {
  readonly gpu: number;
  /** Index of a resource, and how much of it. */
  readonly others: readonly (readonly [at: number, amount: number])[];
  readonly weight: number;
}

/** What a placement costs beyond what it takes. */
export interface Waste {
  /** Free GPU that comes out of reach of the asks that are typical here. */
  readonly strands: number;
  /** What is left on the machines that it takes. */
  readonly free: number;
}

/** A machine for a replica, with what is wasted there. */
interface Seat extends Waste {
  readonly machine: number;
}

export function wastesLess(a: Waste, b: Waste): boolean {
  return (a.strands - b.strands || a.free - b.free) < 0;
}

/** Where pod sets are; what gives the room back. */
export type Placement = readonly Replica[];

/**
 * Free room of the machines of all flavours that have any. A whole replica goes to one machine: to the one where it strands the least, that is,
 * after which the fewest free GPUs are out of reach of the asks that are typical here (Weng et al., "Beware of Fragmentation",
 * ATC '23); of equal ones to the fullest, then by name.
 */
export class Machines {
  readonly #machines: readonly Machine[];
  readonly #resources: readonly string[];
  readonly #ofFlavour = new Map<string, number[]>();
  readonly #byName = new Map<string, number>();
  /** By device. */
  readonly #devices: Float64Array;
  /** machine × resources; of DEVICES the sum over its devices. */
  readonly #free: Float64Array;

  constructor(nodes: readonly NodeInput[]) {
    const ordered = [...nodes].sort((a, b) => (a.name < b.name ? -1 : 1));
    this.#resources = [...new Set(nodes.flatMap((node) => Object.keys(node.capacity)))].sort();
    let devices = 0;
    this.#machines = ordered.map((node, index) => {
      const own = Math.ceil((node.capacity[DEVICES] ?? 0) / DEVICE);
      const { name, flavour, cordoned } = node;
      const machine = { name, flavour, cordoned, firstDevice: devices, devices: own };
      devices += own;
      this.#byName.set(`${node.flavour}\n${node.name}`, index);
      const list = this.#ofFlavour.get(node.flavour);
      if (list === undefined) this.#ofFlavour.set(node.flavour, [index]);
      else list.push(index);
      return machine;
    });
    this.#devices = new Float64Array(devices).fill(DEVICE);
    this.#free = new Float64Array(ordered.length * this.#resources.length);
    for (const [index, node] of ordered.entries()) {
      for (const [at, resource] of this.#resources.entries())
        this.#free[index * this.#resources.length + at] = node.capacity[resource] ?? 0;
      const last = this.#machines[index]!.firstDevice + this.#machines[index]!.devices - 1;
      const rest = (node.capacity[DEVICES] ?? 0) % DEVICE;
      if (rest > 0) this.#devices[last] = rest;
    }
  }

  copyFrom(other: Machines): void {
    this.#devices.set(other.#devices);
    this.#free.set(other.#free);
  }

  /** Machines of a flavour that take no new work. */
  cordoned(flavour: string): readonly string[] {
    const own = (this.#ofFlavour.get(flavour) ?? []).map((at) => this.#machines[at]!);
    return own.filter((machine) => machine.cordoned).map(({ name }) => name);
  }

  /** Flavours with machines that take no new work. */
  get shutFlavours(): ReadonlySet<string> {
    return new Set(this.#machines.filter(({ cordoned }) => cordoned).map(({ flavour }) => flavour));
  }

  /** Of a replica on a machine that takes no new work. */
  shutFlavourOf({ machine }: Replica): string | undefined {
    const { cordoned, flavour } = this.#machines[machine]!;
    return cordoned ? flavour : undefined;
  }

  /** What the machines of a flavour have free that take new work. */
  openRoom(flavour: string): Amounts {
    const open = (this.#ofFlavour.get(flavour) ?? []).filter((machine) => !this.#machines[machine]!.cordoned);
    const freeOf = (resource: string) =>
      open.reduce((sum, machine) => sum + Math.max(0, this.#freeOf(machine, resource)), 0);
    return Object.fromEntries(this.#resources.map((resource) => [resource, freeOf(resource)]));
  }

  has(flavour: string): boolean {
    return this.#ofFlavour.has(flavour);
  }

  /** How many replicas find room, `enough` at most. */
  room(flavour: string, ask: Amounts, enough: number): number {
    let room = 0;
    for (const machine of this.#ofFlavour.get(flavour) ?? []) {
      if (this.#machines[machine]!.cordoned) continue;
      room += this.#roomOn(machine, ask, enough - room);
      if (room >= enough) return enough;
    }
    return room;
  }

  /** Takes room for all replicas, or for none. */
  place(flavour: string, ask: Amounts, count: number, typical: readonly TypicalAsk[]): Placement | undefined {
    const placed: Replica[] = [];
    for (let i = 0; i < count; i++) {
      const seat = this.#bestSeat(flavour, ask, typical);
      if (seat === undefined) {
        this.release(placed);
        return undefined;
      }
      placed.push(this.#take(seat.machine, ask));
    }
    return placed;
  }

  /** What `place` would strand, and how empty the machines are left that it takes; undefined: there is no room for all of it. */
  waste(flavour: string, ask: Amounts, count: number, typical: readonly TypicalAsk[]): Waste | undefined {
    const placed: Replica[] = [];
    let [strands, free] = [0, 0];
    while (placed.length < count) {
      const seat = this.#bestSeat(flavour, ask, typical);
      if (seat === undefined) break;
      placed.push(this.#take(seat.machine, ask));
      strands += seat.strands;
      free += seat.free;
    }
    this.release(placed);
    return placed.length < count ? undefined : { strands, free };
  }

  /** What already runs somewhere takes its room there, as far as there is any. */
  occupy(flavour: string, ask: Amounts, shares: readonly NodeShare[]): Placement {
    const placed: Replica[] = [];
    for (const { node, replicas } of shares) {
      const machine = this.#byName.get(`${flavour}\n${node}`);
      if (machine === undefined) continue;
      for (let i = 0; i < replicas; i++) placed.push(this.#take(machine, ask));
    }
    return placed;
  }

  release(placement: Placement): void {
    for (const replica of placement) this.#move(replica, 1);
  }

  /** Takes again what `release` gave back. */
  restore(placement: Placement): void {
    for (const replica of placement) this.#move(replica, -1);
  }

  shares(placement: Placement): readonly NodeShare[] {
    const byNode = new Map<string, number>();
    for (const { machine } of placement) {
      const { name } = this.#machines[machine]!;
      byNode.set(name, (byNode.get(name) ?? 0) + 1);
    }
    return [...byNode].sort(([a], [b]) => (a < b ? -1 : 1)).map(([node, replicas]) => ({ node, replicas }));
  }

  #move({ machine, devices, others }: Replica, sign: 1 | -1): void {
    for (const [device, amount] of devices) this.#devices[device] = this.#devices[device]! + sign * amount;
    for (const [resource, amount] of Object.entries(others)) {
      const at = machine * this.#resources.length + this.#resources.indexOf(resource);
      this.#free[at] = this.#free[at]! + sign * amount;
    }
  }

  #freeOf(machine: number, resource: string): number {
    const at = this.#resources.indexOf(resource);
    // A machine that says nothing of a resource has enough of it.
    return at < 0 ? Number.POSITIVE_INFINITY : this.#free[machine * this.#resources.length + at]!;
  }

  #roomOn(machine: number, ask: Amounts, enough: number): number {
    let room = enough;
    for (const [resource, amount] of Object.entries(ask)) {
      if (amount <= 0) continue;
      const fit =
        resource === DEVICES ? this.#devicesFor(machine, amount) : Math.floor(this.#freeOf(machine, resource) / amount);
      room = Math.min(room, Math.max(0, fit));
      if (room === 0) return 0;
    }
    return room;
  }

  /** How often `amount` of GPU fits: whole devices, and one part of a device. */
  #devicesFor(machine: number, amount: number): number {
    const { firstDevice, devices } = this.#machines[machine]!;
    const whole = Math.floor(amount / DEVICE);
    const part = amount % DEVICE;
    let empty = 0;
    let parts = 0;
    for (let device = firstDevice; device < firstDevice + devices; device++) {
      const free = this.#devices[device]!;
      if (free === DEVICE) empty++;
      else if (part > 0) parts += Math.floor(free / part);
    }
    if (part === 0) return Math.floor(empty / whole);
    if (whole === 0) return parts + empty * Math.floor(DEVICE / part);
    // Rare: 1.5 GPUs. Each takes its whole ones; parts come from shared devices, else from empty ones.
    const perDevice = Math.floor(DEVICE / part);
    let fit = 0;
    while (empty >= whole) {
      if (parts === 0) {
        if (empty < whole + 1) break;
        empty--;
        parts += perDevice;
      }
      parts--;
      empty -= whole;
      fit++;
    }
    return fit;
  }

  #bestSeat(flavour: string, ask: Amounts, typical: readonly TypicalAsk[]): Seat | undefined {
    const reaches = this.#reachesOf(typical);
    // Most machines of a fleet are in one of few states: what an ask strands is worked out once for each.
    const seen = new Map<string, number>();
    let best: Seat | undefined;
    for (const machine of this.#ofFlavour.get(flavour) ?? []) {
      if (this.#machines[machine]!.cordoned || this.#roomOn(machine, ask, 1) === 0) continue;
      const state = this.#stateOf(machine);
      const strands = seen.get(state) ?? this.#strandedBy(machine, ask, reaches);
      seen.set(state, strands);
      const seat = { machine, strands, free: this.#fullness(machine) - this.#part(ask) };
      if (best === undefined || wastesLess(seat, best)) best = seat;
    }
    return best;
  }

  #strandedBy(machine: number, ask: Amounts, reaches: readonly Reach[]): number {
    const before = this.#stranded(machine, reaches);
    const replica = this.#take(machine, ask);
    const after = this.#stranded(machine, reaches);
    this.#move(replica, 1);
    return after - before;
  }

  #stateOf(machine: number): string {
    const { firstDevice, devices } = this.#machines[machine]!;
    const from = machine * this.#resources.length;
    const free = this.#devices.subarray(firstDevice, firstDevice + devices).join();
    return `${free};${this.#free.subarray(from, from + this.#resources.length).join()}`;
  }

  #reachesOf(typical: readonly TypicalAsk[]): readonly Reach[] {
    return typical.flatMap(({ amounts, weight }) => {
      const gpu = amounts[DEVICES] ?? 0;
      if (gpu === 0) return [];
      const others = Object.entries(amounts).flatMap(([resource, amount]) => {
        const at = this.#resources.indexOf(resource);
        return resource === DEVICES || at < 0 ? [] : [[at, amount] as const];
      });
      return [{ gpu, others, weight }];
    });
  }

  #part(ask: Amounts): number {
    return ask[this.#resources.includes(DEVICES) ? DEVICES : this.#resources[0]!] ?? 0;
  }

  #fullness(machine: number): number {
    const of = this.#resources.includes(DEVICES) ? DEVICES : this.#resources[0]!;
    return this.#freeOf(machine, of);
  }

  /** Free GPU that a typical ask cannot reach here, weighted by how many ask so. */
  #stranded(machine: number, reaches: readonly Reach[]): number {
    const { firstDevice, devices } = this.#machines[machine]!;
    const end = firstDevice + devices;
    let free = 0;
    let empty = 0;
    for (let device = firstDevice; device < end; device++) {
      const left = this.#devices[device]!;
      free += left;
      if (left === DEVICE) empty++;
    }
    if (free === 0) return 0;
    const from = machine * this.#resources.length;
    let stranded = 0;
    for (const { gpu, others, weight } of reaches) {
      let lost = 0;
      if (others.some(([at, amount]) => amount > this.#free[from + at]!)) lost = free;
      else if (gpu >= DEVICE) lost = empty >= Math.ceil(gpu / DEVICE) ? free - empty * DEVICE : free;
      else
        for (let device = firstDevice; device < end; device++)
          if (this.#devices[device]! < gpu) lost += this.#devices[device]!;
      stranded += weight * lost;
    }
    return stranded;
  }

  /** Takes it from the fullest devices that have room; beyond what is there it goes below zero on the last one. */
  #take(machine: number, ask: Amounts): Replica {
    const { firstDevice, devices } = this.#machines[machine]!;
    const taken: [number, number][] = [];
    let more = ask[DEVICES] ?? 0;
    for (let device = firstDevice; device < firstDevice + devices && more >= DEVICE; device++) {
      if (this.#devices[device] !== DEVICE) continue;
      taken.push([device, DEVICE]);
      this.#devices[device] = 0;
      more -= DEVICE;
    }
    if (more > 0 && devices > 0) {
      let best = -1;
      for (let device = firstDevice; device < firstDevice + devices; device++) {
        const left = this.#devices[device]!;
        if (left >= more && (best < 0 || left < this.#devices[best]!)) best = device;
      }
      if (best < 0) best = firstDevice + devices - 1;
      taken.push([best, more]);
      this.#devices[best] = this.#devices[best]! - more;
    }
    const replica: Replica = { machine, devices: taken, others: ask };
    for (const [resource, amount] of Object.entries(ask)) {
      const index = this.#resources.indexOf(resource);
      if (index < 0) continue;
      const at = machine * this.#resources.length + index;
      this.#free[at] = this.#free[at]! - amount;
    }
    return replica;
  }
}
