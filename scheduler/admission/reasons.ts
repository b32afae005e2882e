import type { Fate } from './cycle.ts';
import type { ReasonCode, WaitReason } from './decision.ts';
import type { Verdict } from './nominate.ts';
import type { Scene } from './scene.ts';
import type { Member, Shape } from './shape.ts';
import type { State } from './state.ts';
import { amountText, moneyText } from './texts.ts';
import type { Option } from './world.ts';

/** Ids named as holders of what is missing. */
export const MAX_HOLDERS = 8;

/** The most telling first: what no waiting mends, then what somebody can mend, then what time mends. */
const RANK: Readonly<Record<ReasonCode, number>> = {
  infeasible: 0,
  awaiting_drain: 1,
  backing_off: 2,
  not_head: 3,
  provider_unreachable: 4,
  cordoned: 5,
  max_cost: 6,
  budget: 7,
  user_limit: 8,
  window_closed: 9,
  quota: 10,
  borrow_limit: 11,
  capacity: 12,
  no_node: 13,
  kept_for_head: 14,
  backfill: 15,
  outrun: 16,
  rate_limited: 17,
  guarded: 18,
  no_victims: 19,
  far_back: 20,
};

export function byRank(a: WaitReason, b: WaitReason): number {
  return RANK[a.code] - RANK[b.code];
}

/** All that stands between a shape and its start, for each option that was looked at. */
export function reasonsFor(state: State, scene: Scene, shape: Shape, tried: readonly Verdict[]): readonly WaitReason[] {
  const seen = new Map<string, WaitReason>();
  for (const verdict of tried) {
    for (const reason of verdictReasons(state, scene, shape, verdict)) {
      const key = `${reason.code} ${reason.flavour} ${reason.resource}`;
      if (!seen.has(key)) seen.set(key, reason);
    }
  }
  return [...seen.values()].sort(byRank);
}

export function fateReasons(state: State, scene: Scene, shape: Shape, id: string, fate: Fate): readonly WaitReason[] {
  if (fate.kind === 'awaiting') return [awaiting(state, id, fate.option)];
  const reasons = reasonsFor(state, scene, shape, fate.nomination.tried);
  if (fate.kind === 'blocked') return reasons;
  return [outrunReason(fate.nomination.verdict.option)];
}

export function outrunReason(option: Option): WaitReason {
  const flavour = flavourOf(option);
  const text = `${flavour ?? 'it'}: somebody before it in this cycle took the room`;
  return reason('outrun', flavour, null, null, [], text);
}

export function awaiting(state: State, id: string, option: Option | null): WaitReason {
  const drains = [...state.drains.values()];
  const own = drains.filter((drain) => drain.for === id);
  const cells = option?.demand.cells ?? [];
  const leaving =
    own.length > 0 ? own : drains.filter(({ work }) => work.demand.cells.some((cell) => cells.includes(cell)));
  const ids = leaving.map(({ work }) => work.input.id).sort();
  const text = `waits until ${ids.join(', ')} ${ids.length === 1 ? 'has' : 'have'} left`;
  const flavour = option === null ? null : flavourOf(option);
  return reason('awaiting_drain', flavour, null, null, ids.slice(0, MAX_HOLDERS), text);
}

function verdictReasons(state: State, scene: Scene, shape: Shape, { option, block }: Verdict): readonly WaitReason[] {
  if (block === null) return [];
  const flavour = flavourOf(option);
  const reasons: WaitReason[] = block.gates.map((gate) => {
    const { code, resource, shortfall } = gate;
    const missing =
      shortfall === null
        ? ''
        : ` (${typeof shortfall === 'bigint' ? moneyText(shortfall, resource ?? '') : amountText(shortfall, resource ?? '')} short)`;
    return reason(
      code,
      gate.flavour,
      resource,
      shortfall,
      [],
      `${gate.flavour ?? 'all flavours'}: ${gate.text}${missing}`,
    );
  });
  if (block.never) reasons.push(...tooMuch(scene, shape, option));
  if (block.noRoom) {
    const holders = holdersOf(state, scene, shape.division, block.short);
    const shut = cordonedText(scene, option);
    const text = `${flavour}: no node has room for a whole replica${shut}`;
    reasons.push(reason('no_node', flavour, null, null, holders, text));
  } else for (const cell of block.short) reasons.push(shortReason(state, scene, shape, option, cell));
  if (block.kept) reasons.push(keptReason(state, scene, shape, option));
  if (block.pin !== null) {
    const at = new Date(block.pin.slotMs).toISOString();
    const text = `${flavour}: its lease would reach into the slot of ${block.pin.id} at ${at}`;
    reasons.push(reason('backfill', flavour, null, null, [block.pin.id], text));
  }
  if (block.rateFromMs !== null)
    reasons.push(
      reason('rate_limited', flavour, null, null, [], `${flavour}: the pool's rate of preemptions is used up`),
    );
  if (block.notes === null || block.rateFromMs !== null) return reasons;
  if (block.notes.guarded.length > 0)
    reasons.push(reason('guarded', flavour, null, null, [], `${flavour}: work that it may preempt is guarded`));
  if (block.short.length > 0) reasons.push(noVictims(block.notes, flavour));
  return reasons;
}

/** Machines that could perhaps have it, were they not taken out of use. */
function cordonedText({ coming }: Scene, { flavours }: Option): string {
  const names = [...new Set(flavours)].flatMap((flavour) => coming.machines?.cordoned(flavour) ?? []);
  if (names.length === 0) return '';
  const more = names.length > MAX_HOLDERS ? ` and ${names.length - MAX_HOLDERS} more` : '';
  return `; cordoned: ${names.slice(0, MAX_HOLDERS).join(', ')}${more}`;
}

export function keptReason(state: State, scene: Scene, { division }: Shape, option: Option): WaitReason {
  const flavour = flavourOf(option);
  const ids = keptFor(state, scene, division);
  const text = `${flavour}: there is room, which is kept for ${ids.join(', ') || 'others'}`;
  return reason('kept_for_head', flavour, null, null, ids, text);
}

function noVictims(notes: NonNullable<Verdict['block']>['notes'] & {}, flavour: string | null): WaitReason {
  const text =
    notes.candidates === 0
      ? `${flavour}: there is nobody that it may preempt`
      : notes.refused
        ? `${flavour}: preempting would take from those with a smaller share`
        : `${flavour}: even all that it may preempt is not enough`;
  return reason('no_victims', flavour, null, null, [], text);
}

function tooMuch({ tree, flavours }: Scene, shape: Shape, { demand }: Option): readonly WaitReason[] {
  return demand.cells.flatMap((cell, i) => {
    const most = Math.min(tree.potential[tree.at(shape.division, cell)]!, tree.capacity[cell]!);
    const { flavour, resource } = tree.cells[cell]!;
    const ask = demand.amounts[i]!;
    if (ask <= most) return [];
    const asks = `${flavour}: asks for ${amountText(ask, resource)}`;
    const whole = flavours.get(flavour)?.whole?.[resource];
    if (whole !== undefined) {
      const text = `${asks}, ${amountText(tree.capacity[cell]!, resource)} of its ${amountText(whole, resource)} are there now`;
      return [reason('capacity', flavour, resource, ask - most, [], text)];
    }
    const text = `${asks}, can have ${amountText(most, resource)} at most`;
    return [reason('infeasible', flavour, resource, ask - most, [], text)];
  });
}

function shortReason(state: State, scene: Scene, { division }: Shape, { demand }: Option, cell: number): WaitReason {
  const { tree, coming } = scene;
  const bound = coming.usage.bound(division, cell);
  const { flavour, resource } = tree.cells[cell]!;
  const ask = demand.amounts[demand.cells.indexOf(cell)]!;
  const node = tree.nodes[bound.node]!.name;
  const shortfall = ask - bound.available;
  const what = {
    quota: `the quota of ${node}`,
    borrow_limit: `what ${node} may borrow`,
    capacity: 'its capacity',
  }[bound.kind];
  const free = amountText(Math.max(0, bound.available), resource);
  const text = `${flavour}: asks for ${amountText(ask, resource)}, ${free} of ${what} is free (${amountText(shortfall, resource)} short)`;
  return reason(bound.kind, flavour, resource, shortfall, holdersOf(state, scene, bound.node, [cell]), text);
}

/** What a scene was asked for already: the heads of a cycle mostly stand before the same wall. */
const known = new WeakMap<Scene, Map<string, readonly string[]>>();

/** Work below a node that uses one of the cells, the first to end first. */
function holdersOf(state: State, scene: Scene, node: number, cells: readonly number[]): readonly string[] {
  const ofScene = known.get(scene) ?? new Map<string, readonly string[]>();
  known.set(scene, ofScene);
  const key = `${node} ${cells.join(' ')}`;
  const ids = ofScene.get(key) ?? firstHolders(state, scene, node, cells);
  ofScene.set(key, ids);
  return ids;
}

/** Looks no further than it must: sorting all that runs was four fifths of a cycle's time. */
function firstHolders(state: State, { tree }: Scene, node: number, cells: readonly number[]): readonly string[] {
  const isBelow = (division: number) => {
    for (let at = division; at >= 0; at = tree.nodes[at]!.parent) if (at === node) return true;
    return false;
  };
  const ids: string[] = [];
  for (const { input, division, demand } of state.ends.firstToEnd()) {
    if (!demand.cells.some((cell) => cells.includes(cell)) || !isBelow(division)) continue;
    if (ids.push(input.id) === MAX_HOLDERS) break;
  }
  return ids;
}

/** By scene and root: preemptors and blocked heads that something is kept for. */
const keepers = new WeakMap<Scene, Map<number, readonly Member[]>>();

function keptFor(state: State, scene: Scene, division: number): readonly string[] {
  const { root } = scene.tree.nodes[division]!;
  const ofScene = keepers.get(scene) ?? new Map<number, readonly Member[]>();
  keepers.set(scene, ofScene);
  const known = ofScene.get(root) ?? keepersOf(state, scene, root);
  ofScene.set(root, known);
  const others = known.filter(({ place, shape }) => place === 'holder' || shape.division !== division);
  return others.slice(0, MAX_HOLDERS).map(({ input }) => input.id);
}

function keepersOf(state: State, { tree }: Scene, root: number): readonly Member[] {
  const holders = [...state.holders.values()].map(({ member }) => member);
  const fronts = state.queues.fronts().filter(({ shape }) => shape.holds);
  return [...holders, ...fronts]
    .filter(({ shape }) => tree.nodes[shape.division]!.root === root)
    .sort((a, b) => (a.input.id < b.input.id ? -1 : 1));
}

function flavourOf({ flavours }: Option): string | null {
  return flavours[0] ?? null;
}

export function reason(
  code: ReasonCode,
  flavour: string | null,
  resource: string | null,
  shortfall: number | bigint | null,
  holders: readonly string[],
  text: string,
): WaitReason {
  return { code, flavour, resource, shortfall, holders, text };
}
