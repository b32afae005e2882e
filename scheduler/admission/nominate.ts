import type { Fallback, FlavourInput, PodSet } from '../../pools/planner-input.ts';
import { newNotes, type Search, type SearchNotes, type Victim } from '../preemption/candidates.ts';
import { outlookOfRate } from '../preemption/outlook.ts';
import { searchClassic } from '../preemption/search-classic.ts';
import { searchFair } from '../preemption/search-fair.ts';
import { costOf } from './accounts.ts';
import type { Pin } from './backfill.ts';
import { type Gate, gatesOf } from './gates.ts';
import { wastesLess } from './machines.ts';
import type { Scene } from './scene.ts';
import type { Member, Shape } from './shape.ts';
import { demandOf, type Option } from './world.ts';

/** How an option could start, the best first. */
export type Rank =
  | 'nominal'
  | 'borrow'
  /** It fits once what is leaving has left. */
  | 'drain'
  /** All victims are other divisions'. */
  | 'reclaim'
  /** A victim is its own division's. */
  | 'preempt'
  | 'blocked';

const PREFER_BORROW: Readonly<Record<Rank, number>> = {
  nominal: 0,
  borrow: 1,
  drain: 2,
  reclaim: 3,
  preempt: 4,
  blocked: 5,
};
const PREFER_PREEMPT: Readonly<Record<Rank, number>> = {
  nominal: 0,
  drain: 1,
  reclaim: 2,
  preempt: 3,
  borrow: 4,
  blocked: 5,
};

/** Whatever its division prefers, a booking that has preempted once starts where there is room. */
const HOLDERS: Fallback = { whenFull: 'next', prefer: 'borrow' };

/** What was found out about one option. */
export interface Verdict {
  readonly option: Option;
  readonly rank: Rank;
  readonly victims: readonly Victim[];
  /** Its victims are taken only as far as it ends within its nominal. */
  readonly endsWithin?: boolean;
  /** The height of the lowest ancestor whose quota holds it, victims gone. */
  readonly level: number;
  /** Only of a blocked one. */
  readonly block: Block | null;
}

export interface Block {
  readonly gates: readonly Gate[];
  /** More than its division could have of an empty tree. */
  readonly never: boolean;
  /** Cells of which there is too little. */
  readonly short: readonly number[];
  /** There is quota, but no machine. */
  readonly noRoom: boolean;
  /** There is room now, but it is kept for somebody. */
  readonly kept: boolean;
  /** The head whose slot it would delay. */
  readonly pin: Pin | null;
  readonly notes: SearchNotes | null;
  /** Its victims are more than the pool's rate allows; when it does (Infinity: never). */
  readonly rateFromMs: number | null;
}

export interface Nomination {
  /** What the member would do, blocked where nothing helps. */
  readonly verdict: Verdict;
  /** Each flavour that was looked at, at the size that the verdict is about; of a blocked elastic one at its least. */
  readonly tried: readonly Verdict[];
}

const OPEN: Block = {
  gates: [],
  never: false,
  short: [],
  noRoom: false,
  kept: false,
  pin: null,
  notes: null,
  rateFromMs: null,
};

/** What a booking whose victims have left, or are leaving, does with what they leave: before anything else it takes that. */
export function nominateHolder(scene: Scene, member: Member, option: Option | null): Nomination {
  if (option !== null) {
    const verdict = scene.keeps.without(member.shape.division, () => judge(scene, member, option));
    if (verdict.rank === 'nominal' || verdict.rank === 'borrow' || verdict.rank === 'drain')
      return { verdict, tried: [verdict] };
  }
  return nominate(scene, member, HOLDERS);
}

/** The best option of a booking in the scene as it is. */
export function nominate(scene: Scene, member: Member, fallback: Fallback = member.shape.config.fallback): Nomination {
  return scene.keeps.without(member.shape.division, () => {
    const { shape } = member;
    const tried: Verdict[] = [];
    const full = bestAt(scene, member, fallback, shape.replicas, tried);
    if (full.rank !== 'blocked' || shape.minReplicas === shape.replicas) return { verdict: full, tried };
    const part = fewer(scene, member, fallback);
    if (part !== undefined) return { verdict: part, tried };
    // Why not even its least fits says more than why all of it does not.
    const least: Verdict[] = [];
    const verdict = bestAt(scene, member, fallback, shape.minReplicas, least);
    return { verdict: full.block?.never === true ? verdict : full, tried: least };
  });
}

/** The largest count that fits or can be preempted for: what works for a count works for fewer. */
function fewer(scene: Scene, member: Member, fallback: Fallback): Verdict | undefined {
  const { shape } = member;
  let best: Verdict | undefined;
  let low = shape.minReplicas;
  let high = shape.replicas - 1;
  while (low <= high) {
    const middle = Math.ceil((low + high) / 2);
    const verdict = bestAt(scene, member, fallback, middle, []);
    if (verdict.rank === 'blocked') high = middle - 1;
    else {
      best = verdict;
      low = middle + 1;
    }
  }
  return best;
}

/** Pod set by pod set: each takes the best flavour beside those before it. */
function bestAt(scene: Scene, member: Member, fallback: Fallback, replicas: number, tried: Verdict[]): Verdict {
  const podSets = member.shape.podSetsFor(replicas);
  let flavours: readonly string[] = [];
  let verdict: Verdict | undefined;
  for (let i = 0; i < podSets.length; i++) {
    verdict = bestFlavour(scene, member, fallback, podSets.slice(0, i + 1), flavours, tried);
    flavours = verdict.option.flavours;
    if (verdict.rank === 'blocked') return verdict;
  }
  return verdict!;
}

function bestFlavour(
  scene: Scene,
  member: Member,
  { whenFull, prefer, ties = 'order' }: Fallback,
  podSets: readonly PodSet[],
  before: readonly string[],
  tried: Verdict[],
): Verdict {
  const { shape } = member;
  const order = prefer === 'borrow' ? PREFER_BORROW : PREFER_PREEMPT;
  const isByPrice = ties === 'price' || shape.sample.preferPrice;
  const isByWaste = ties === 'packing' && !isByPrice;
  let best: Verdict | undefined;
  for (const { id } of isByPrice ? byPrice(scene, shape, podSets.at(-1)!) : shape.flavours) {
    const flavours = [...before, id];
    const demand = demandOf(scene.tree, podSets, flavours);
    if (demand === undefined) continue;
    const verdict = judge(scene, member, { flavours, podSets, demand });
    tried.push(verdict);
    if (best === undefined || goesBefore(verdict, best, order, isByWaste ? scene : null)) best = verdict;
    if (verdict.rank === 'nominal' && !isByWaste) break;
    if (whenFull === 'preempt' && (verdict.rank === 'reclaim' || verdict.rank === 'preempt')) break;
  }
  // `never` of a shape holds back what has no flavour at all.
  return best!;
}

/** By rank; of what fits as well by what it wastes on machines, where that is looked at (`scene`); else the first stays. */
function goesBefore(
  verdict: Verdict,
  best: Verdict,
  order: Readonly<Record<Rank, number>>,
  scene: Scene | null,
): boolean {
  const byRank = order[verdict.rank] - order[best.rank];
  if (byRank !== 0) return byRank < 0;
  if (scene === null || (best.rank !== 'nominal' && best.rank !== 'borrow')) return wallOf(verdict) < wallOf(best);
  const waste = scene.coming.waste(verdict.option, scene.typical);
  const least = scene.coming.waste(best.option, scene.typical);
  return waste !== undefined && least !== undefined && wastesLess(waste, least);
}

/** Of blocked ones that which only lacks room goes first: it is what the booking waits for, keeps and pins. */
function wallOf({ block }: Verdict): number {
  if (block === null) return 0;
  return block.never ? 2 : Number(block.gates.length > 0);
}

/** The cheapest first; of one price, in the shape's own order. */
function byPrice(scene: Scene, shape: Shape, podSet: PodSet): readonly FlavourInput[] {
  const price = (flavour: string) =>
    costOf({ flavours: [flavour], podSets: [podSet], demand: { cells: [], amounts: [] } }, 3_600_000, scene.flavours)
      ?.minor ?? 0n;
  return shape.flavours
    .map((flavour) => ({ flavour, minor: price(flavour.id) }))
    .sort((a, b) => (a.minor < b.minor ? -1 : a.minor > b.minor ? 1 : 0))
    .map(({ flavour }) => flavour);
}

/** What an option could do now. The division's own keep is out of the scene already. */
export function judge(scene: Scene, member: Member, option: Option): Verdict {
  const { shape } = member;
  const { coming, present, tree } = scene;
  const { division } = shape;
  const gates = gatesOf(scene, shape, option, scene.nowMs);
  if (!isPossible(scene, division, option)) return blocked(scene, division, option, { gates, never: true });
  if (gates.length > 0) return blocked(scene, division, option, { gates });
  if (coming.fits(division, option)) {
    const level = coming.usage.borrowingLevel(division, option.demand);
    const pin = scene.backfill.delayed(member, option, level);
    if (pin !== undefined) return blocked(scene, division, option, { pin });
    const nominal = coming.usage.withinNominal(division, option.demand);
    const rank = !present.fits(division, option) ? 'drain' : nominal ? 'nominal' : 'borrow';
    return { option, rank, victims: [], level, block: null };
  }
  const short = shortCells(scene, division, option);
  const noRoom = coming.usage.fits(division, option.demand);
  const kept = present.fits(division, option);
  const { preemption } = shape.config;
  if (preemption.own === 'never' && (preemption.reclaim === 'never' || tree.nodes[division]!.parent < 0))
    return blocked(scene, division, option, { short, noRoom, kept });
  return byPreemption(scene, member, option, { short, noRoom, kept });
}

function byPreemption(
  scene: Scene,
  member: Member,
  option: Option,
  block: Pick<Block, 'short' | 'noRoom' | 'kept'>,
): Verdict {
  const { division } = member.shape;
  const notes = newNotes();
  const search = searchOf(scene, member, option, block.short, notes);
  const victims = searchVictims(search, scene.strategies);
  if (victims === undefined) return blocked(scene, division, option, { ...block, notes });
  const rateFromMs = scene.guards.allowedFromMs(
    victims.map(({ work }) => work),
    scene.nowMs,
  );
  if (rateFromMs > scene.nowMs) {
    notes.outlook = outlookOfRate(search, rateFromMs);
    return blocked(scene, division, option, { ...block, notes, rateFromMs });
  }
  const { coming } = scene;
  for (const { work, kept } of victims) coming.remove(work, work.replicas, kept);
  const level = coming.usage.borrowingLevel(division, option.demand);
  for (const { work, kept } of victims) coming.restore(work, work.replicas, kept);
  const rank = victims.some(({ work }) => work.division === division) ? 'preempt' : 'reclaim';
  return { option, rank, victims, endsWithin: notes.endsWithin, level, block: null };
}

/** A minimal set of victims in what is coming; undefined: there is none. */
function searchVictims(search: Search, strategies: Scene['strategies']): readonly Victim[] | undefined {
  return strategies === null ? searchClassic(search) : searchFair(search, strategies);
}

function searchOf(
  { coming, works, guards, nowMs, precedence }: Scene,
  { shape, input }: Member,
  option: Option,
  short: readonly number[],
  notes: SearchNotes,
): Search {
  const { division, config } = shape;
  const { priority, createdAtMs } = input;
  const asker = { division, policy: config.preemption, priority, createdAtMs, option };
  return { world: coming, asker, short, works, guards, nowMs, notes, spared: precedence.above(input.id) };
}

export function shortCells({ coming }: Scene, division: number, { demand, flavours }: Option): readonly number[] {
  const short = demand.cells.filter((cell, i) => demand.amounts[i]! > coming.usage.available(division, cell));
  if (short.length > 0) return short;
  const { cells } = coming.tree;
  return demand.cells.filter(
    (cell) => coming.machines?.has(cells[cell]!.flavour) && flavours.includes(cells[cell]!.flavour),
  );
}

/** Could the division have it of an empty tree? */
export function isPossible({ tree }: Pick<Scene, 'tree'>, division: number, { demand }: Option): boolean {
  return demand.cells.every(
    (cell, i) => demand.amounts[i]! <= Math.min(tree.potential[tree.at(division, cell)]!, tree.capacity[cell]!),
  );
}

function blocked(scene: Scene, division: number, option: Option, block: Partial<Block>): Verdict {
  const level = scene.coming.usage.borrowingLevel(division, option.demand);
  return { option, rank: 'blocked', victims: [], level, block: { ...OPEN, ...block } };
}
