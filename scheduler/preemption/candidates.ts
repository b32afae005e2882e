import type { PreemptionPolicy } from '../../pools/planner-input.ts';
import type { QuotaTree } from '../../pools/quota-tree.ts';
import { type Option, usesAny, type Work, type World } from '../admission/world.ts';
import type { Guards } from './guards.ts';
import type { Outlook } from './outlook.ts';

/** Who asks, and with what. */
export interface Asker {
  readonly division: number;
  readonly policy: PreemptionPolicy;
  readonly priority: number;
  readonly createdAtMs: number;
  readonly option: Option;
}

/** A victim and how many of its replicas it keeps. */
export interface Victim {
  readonly work: Work;
  readonly kept: number;
}

/** What a search looks at. It leaves `world` as it found it. */
export interface Search {
  readonly world: World;
  readonly asker: Asker;
  /** Cells of which there is too little. */
  readonly short: readonly number[];
  /** Of a division; draining work is not among it. */
  readonly works: (division: number) => Iterable<Work>;
  readonly guards: Guards;
  readonly nowMs: number;
  /** Ids of work that it may not take: it left for them once. */
  readonly spared: ReadonlySet<string>;
  readonly notes: SearchNotes;
}

/** What searches find out on their way. */
export interface SearchNotes {
  /** Candidates that are guarded, and until when. */
  readonly guarded: { readonly work: Work; readonly fromMs: number }[];
  /** A candidate was refused by the rule of fair shares. */
  refused: boolean;
  /** A candidate was left out, for what the asker itself left for. */
  spared: boolean;
  candidates: number;
  /** The victims found let the asker in only as far as it ends within its nominal. */
  endsWithin: boolean;
  /** Of a search that failed. */
  outlook: Outlook | null;
}

export function newNotes(): SearchNotes {
  return { guarded: [], refused: false, spared: false, candidates: 0, endsWithin: false, outlook: null };
}

export interface Candidates {
  readonly own: readonly Work[];
  /** Of other divisions of the same root, those above nominal. */
  readonly others: readonly Work[];
}

/** Lower priority, newest, id. */
export function byCandidateOrder(a: Work, b: Work): number {
  const x = a.input;
  const y = b.input;
  return x.priority - y.priority || y.startedAtMs - x.startedAtMs || (x.id < y.id ? -1 : x.id > y.id ? 1 : 0);
}

/** All that the asker's policies allow it to look at, in candidate order. */
export function candidatesOf(search: Search): Candidates {
  const { world, asker, short } = search;
  const { tree } = world;
  const { root, parent } = tree.nodes[asker.division]!;
  const own: Work[] = [];
  const others: Work[] = [];
  if (asker.policy.own !== 'never') collect(search, asker.division, own, ownAllows);
  if (asker.policy.reclaim !== 'never' && parent >= 0) {
    for (const node of divisionsBelow(tree, root)) {
      if (node !== asker.division && isAbove(world, node, short)) collect(search, node, others, reclaimAllows);
    }
  }
  search.notes.candidates += own.length + others.length;
  return { own: own.sort(byCandidateOrder), others: others.sort(byCandidateOrder) };
}

const divisions = new WeakMap<QuotaTree, Map<number, readonly number[]>>();

/** Worked out once a tree: every head that may preempt asks for it in every cycle. */
function divisionsBelow(tree: QuotaTree, root: number): readonly number[] {
  const byRoot = divisions.get(tree) ?? new Map<number, readonly number[]>();
  divisions.set(tree, byRoot);
  const known =
    byRoot.get(root) ?? tree.nodes.filter((node) => node.isDivision && node.root === root).map(({ index }) => index);
  byRoot.set(root, known);
  return known;
}

function collect(search: Search, division: number, into: Work[], allows: (asker: Asker, work: Work) => boolean): void {
  const { asker, short, guards, nowMs, notes, spared } = search;
  for (const work of search.works(division)) {
    if (!allows(asker, work) || !usesAny(work.demand, short)) continue;
    const fromMs = guards.victimFromMs(work, nowMs);
    if (spared.has(work.input.id)) notes.spared = true;
    else if (fromMs > nowMs) notes.guarded.push({ work, fromMs });
    else into.push(work);
  }
}

function ownAllows({ policy, priority, createdAtMs }: Asker, { input }: Work): boolean {
  if (input.priority < priority) return true;
  return policy.own === 'lower-or-newer' && input.priority === priority && input.createdAtMs > createdAtMs;
}

function reclaimAllows({ policy, priority }: Asker, { input }: Work): boolean {
  return policy.reclaim === 'any' || input.priority < priority;
}

/** Is the node above its quota in any of the cells? */
export function isAbove(world: World, node: number, cells: readonly number[]): boolean {
  for (const cell of cells) if (world.usage.isAboveNominal(node, cell)) return true;
  return false;
}
