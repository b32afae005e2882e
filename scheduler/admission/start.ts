import { assert } from '../../core/assert.ts';
import { costOf } from './accounts.ts';
import type { Admission } from './decision.ts';
import type { Placement } from './machines.ts';
import type { Scene } from './scene.ts';
import type { Member } from './shape.ts';
import type { State } from './state.ts';
import type { Option } from './world.ts';

/** A booking that was let in counts as running from now on; what is coming was charged with it before. */
export function start(state: State, scene: Scene, member: Member, option: Option): Admission {
  const { input, shape } = member;
  const { nowMs, flavours, backfill, typical } = scene;
  const { division } = shape;
  const borrowedMilli = borrowed(scene, division, option);
  const placement = placeIn(scene, option, typical);
  const leaseEndsAtMs = input.leaseMs === null ? null : nowMs + input.leaseMs;
  const held = costOf(option, input.leaseMs, flavours);
  const podSets = withNodes(scene, option, placement);
  state.removePending(input.id);
  state.addRunning(
    {
      id: input.id,
      division: input.division,
      user: input.user,
      podSets: podSets.map((podSet, i) => ({ ...podSet, resources: option.podSets[i]!.resources })),
      minReplicas: input.minReplicas,
      priority: input.priority,
      createdAtMs: input.createdAtMs,
      startedAtMs: nowMs,
      leaseEndsAtMs,
      checkpointedAtMs: null,
      draining: null,
      held,
    },
    placement,
  );
  backfill.started(division, option, leaseEndsAtMs);
  const replicas = option.podSets.reduce((sum, { count }) => sum + count, 0);
  return {
    id: input.id,
    division: input.division,
    podSets,
    replicas,
    borrowedMilli,
    leaseEndsAtMs,
    held,
  };
}

/** The part of the ask that lies above the division's nominal, by resource. */
function borrowed({ tree, present }: Scene, division: number, { demand }: Option): Readonly<Record<string, number>> {
  const byResource: Record<string, number> = {};
  for (const [i, cell] of demand.cells.entries()) {
    const ask = demand.amounts[i]!;
    const beyond = present.usage.usage(division, cell) + ask - tree.subtree[tree.at(division, cell)]!;
    const { resource } = tree.cells[cell]!;
    byResource[resource] = (byResource[resource] ?? 0) + Math.max(0, Math.min(ask, beyond));
  }
  return byResource;
}

function placeIn({ present }: Scene, { flavours, podSets }: Option, typical: Scene['typical']): Placement {
  const { machines } = present;
  if (machines === null) return [];
  return podSets.flatMap(({ resources, count }, i) => {
    if (!machines.has(flavours[i]!)) return [];
    const placement = machines.place(flavours[i]!, resources, count, typical);
    assert(placement !== undefined, 'what fits finds its machines');
    return placement;
  });
}

function withNodes({ present }: Scene, { flavours, podSets }: Option, placement: Placement) {
  let at = 0;
  return podSets.map(({ count }, i) => {
    const flavour = flavours[i]!;
    if (present.machines?.has(flavour) !== true) return { flavour, count, nodes: null };
    const nodes = present.machines.shares(placement.slice(at, at + count));
    at += count;
    return { flavour, count, nodes };
  });
}
