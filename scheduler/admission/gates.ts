import type { FlavourInput } from '../../pools/planner-input.ts';
import { costOf, intervalAt } from './accounts.ts';
import type { ReasonCode } from './decision.ts';
import type { Scene } from './scene.ts';
import type { Shape } from './shape.ts';
import type { Option } from './world.ts';

/** Something beside room that keeps an option from starting. */
export interface Gate {
  readonly code: ReasonCode;
  readonly flavour: string | null;
  readonly resource: string | null;
  readonly shortfall: number | bigint | null;
  /** Can it open without a change of the configuration or the ask? */
  readonly ever: boolean;
  /** When it opens by itself; null: by something that happens. */
  readonly opensAtMs: number | null;
  readonly text: string;
}

/** All gates of an option that are shut at `atMs`. */
export function gatesOf(scene: Scene, shape: Shape, option: Option, atMs: number): readonly Gate[] {
  const gates: Gate[] = [];
  for (const flavour of new Set(option.flavours)) flavourGates(scene.flavours.get(flavour)!, shape, atMs, gates);
  const { startWithin } = shape;
  if (startWithin !== null) {
    const interval = intervalAt(startWithin, atMs);
    if (interval === undefined || interval.fromMs > atMs)
      gates.push(windowGate(null, interval?.fromMs, 'the window that it may start in is closed'));
  }
  moneyGates(scene, shape, option, gates);
  for (const { limit, shortfall, ever } of scene.accounts.userShort(shape.division, shape.sample.user, option.demand)) {
    const { flavour, resource } = limit;
    const text = `the limit of user ${shape.sample.user} is passed`;
    gates.push({ code: 'user_limit', flavour, resource, shortfall, ever, opensAtMs: null, text });
  }
  return gates;
}

function flavourGates(flavour: FlavourInput, { sample }: Shape, atMs: number, gates: Gate[]): void {
  const { id } = flavour;
  const gate = { flavour: id, resource: null, shortfall: null, ever: true, opensAtMs: null };
  if (flavour.away !== null) gates.push({ ...gate, code: 'provider_unreachable', text: flavour.away });
  if (flavour.cordoned) gates.push({ ...gate, code: 'cordoned', text: 'takes no new work' });
  if (flavour.open === null) return;
  const interval = intervalAt(flavour.open, atMs);
  if (interval === undefined || interval.fromMs > atMs) {
    gates.push(windowGate(id, interval?.fromMs, 'its window is closed'));
    return;
  }
  if (sample.leaseMs !== null && atMs + sample.leaseMs <= interval.untilMs) return;
  // A later window is of use only where the whole lease fits into it.
  const lease = sample.leaseMs;
  const later =
    lease === null ? undefined : flavour.open.find(({ fromMs, untilMs }) => fromMs > atMs && fromMs + lease <= untilMs);
  gates.push(windowGate(id, later?.fromMs, 'the lease does not end before its window does'));
}

function windowGate(flavour: string | null, opensAtMs: number | undefined, text: string): Gate {
  const ever = opensAtMs !== undefined;
  return { code: 'window_closed', flavour, resource: null, shortfall: null, ever, opensAtMs: opensAtMs ?? null, text };
}

function moneyGates({ flavours, accounts }: Scene, { sample, division }: Shape, option: Option, gates: Gate[]): void {
  const cost = costOf(option, sample.leaseMs, flavours);
  if (cost === null) return;
  const flavour = new Set(option.flavours).size === 1 ? option.flavours[0]! : null;
  const gate = { flavour, resource: cost.currency, opensAtMs: null };
  if (sample.maxCostMinor !== null && cost.minor > sample.maxCostMinor) {
    const text = 'the whole lease costs more than its max_cost';
    gates.push({ ...gate, code: 'max_cost', shortfall: cost.minor - sample.maxCostMinor, ever: false, text });
  }
  const short = accounts.budgetShort(division, cost);
  if (short === undefined) return;
  const text = short.ever ? 'the budget has too little left' : 'the whole budget is less than the lease costs';
  gates.push({ ...gate, code: 'budget', ...short, text });
}
