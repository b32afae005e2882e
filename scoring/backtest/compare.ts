import type { PublishedModel } from '../rules/published.ts';
import type { BacktestDecision } from './decision-list.ts';

type Action = BacktestDecision['action'];

/** What two backtests of one archive decided differently, `a` being the suite and `b` the one it is compared with. */
export type Difference =
  | { readonly kind: 'only_a' | 'only_b'; readonly tick: string; readonly model: string; readonly action: Action }
  /** The same decision at another tick. */
  | {
      readonly kind: 'other_tick';
      readonly model: string;
      readonly action: Action;
      readonly a: string;
      readonly b: string;
    }
  /** At one tick the same about another model. */
  | {
      readonly kind: 'other_model';
      readonly tick: string;
      readonly action: Action;
      readonly a: string;
      readonly b: string;
    }
  /** A model's scores at the last tick that both published; null: it has none there. */
  | {
      readonly kind: 'score';
      readonly tick: string;
      readonly model: string;
      readonly a: Standing | null;
      readonly b: Standing | null;
    };

export type Standing = Pick<PublishedModel, 'rank' | 'status' | 'composite' | 'lower' | 'upper'>;

interface Pair {
  readonly a: BacktestDecision;
  readonly b: BacktestDecision;
}

/**
 * Pairs each decision with at most one of the other list: first the same tick, action and model; of the rest the same tick
 * and action, then the same action and model in the order of ticks. In the order of ticks, `a` first.
 */
export function compareDecisions(
  a: readonly BacktestDecision[],
  b: readonly BacktestDecision[],
): readonly Difference[] {
  const same = pairUp(a, b, ({ tick, action, model }) => `${tick} ${action} ${model}`);
  const models = pairUp(same.restA, same.restB, ({ tick, action }) => `${tick} ${action}`);
  const ticks = pairUp(models.restA, models.restB, ({ action, model }) => `${action} ${model}`);
  const found: { readonly tick: string; readonly difference: Difference }[] = [];
  for (const { a: one, b: other } of models.pairs) {
    const { tick, action } = one;
    found.push({ tick, difference: { kind: 'other_model', tick, action, a: one.model, b: other.model } });
  }
  for (const { a: one, b: other } of ticks.pairs) {
    const { model, action } = one;
    const tick = one.tick < other.tick ? one.tick : other.tick;
    found.push({ tick, difference: { kind: 'other_tick', model, action, a: one.tick, b: other.tick } });
  }
  for (const { tick, model, action } of ticks.restA)
    found.push({ tick, difference: { kind: 'only_a', tick, model, action } });
  for (const { tick, model, action } of ticks.restB)
    found.push({ tick, difference: { kind: 'only_b', tick, model, action } });
  return found.sort((x, y) => (x.tick < y.tick ? -1 : x.tick > y.tick ? 1 : 0)).map(({ difference }) => difference);
}

interface Paired {
  readonly pairs: readonly Pair[];
  readonly restA: readonly BacktestDecision[];
  readonly restB: readonly BacktestDecision[];
}

/** Pairs what has the same key, in order. */
function pairUp(
  a: readonly BacktestDecision[],
  b: readonly BacktestDecision[],
  keyOf: (decision: BacktestDecision) => string,
): Paired {
  const waiting = new Map<string, BacktestDecision[]>();
  for (const other of b) {
    const queue = waiting.get(keyOf(other));
    if (queue === undefined) waiting.set(keyOf(other), [other]);
    else queue.push(other);
  }
  const pairs: Pair[] = [];
  const restA: BacktestDecision[] = [];
  for (const one of a) {
    const other = waiting.get(keyOf(one))?.shift();
    if (other === undefined) restA.push(one);
    else pairs.push({ a: one, b: other });
  }
  const paired = new Set(pairs.map((pair) => pair.b));
  return { pairs, restA, restB: b.filter((other) => !paired.has(other)) };
}

/** Models whose scores or ranks differ at a tick, in the order of `a`'s ranks, then of `b`'s. */
export function compareScores(
  tick: string,
  a: readonly PublishedModel[],
  b: readonly PublishedModel[],
): readonly Difference[] {
  const inA = new Map(a.map((model) => [model.model, standing(model)]));
  const inB = new Map(b.map((model) => [model.model, standing(model)]));
  const names = new Set([...inA.keys(), ...inB.keys()]);
  return Array.from(names).flatMap((model) => {
    const [one, other] = [inA.get(model) ?? null, inB.get(model) ?? null];
    return isSame(one, other) ? [] : [{ kind: 'score', tick, model, a: one, b: other } as const];
  });
}

function standing({ rank, status, composite, lower, upper }: PublishedModel): Standing {
  return { rank, status, composite, lower, upper };
}

function isSame(a: Standing | null, b: Standing | null): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
