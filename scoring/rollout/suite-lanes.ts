import type { LoadedSuite, SuiteState } from '../ingest/suite-state.sql.ts';
import { inShare } from '../rules/rollout.ts';
import type { OpenRollout } from './rollout-state.sql.ts';

/** The new version of a suite that is kept beside the active one. Event time is the suite's: both have one watermark. */
export interface NextLane {
  readonly rolloutId: string;
  /** In force: per cent of the models that it decides for. */
  readonly share: number;
  readonly state: SuiteState;
}

/** The versions of a suite that the consumer keeps: the same reports, panes and scores of their own, one seat. */
export interface SuiteLanes {
  readonly active: SuiteState;
  readonly next: NextLane | null;
}

export interface Lane {
  readonly state: SuiteState;
  /** undefined: for all models. */
  readonly decidesFor: ((model: string) => boolean) | undefined;
}

/** The active version first. Exactly one of them decides for a model. */
export function lanesOf(lanes: SuiteLanes): readonly Lane[] {
  const { active, next } = lanes;
  if (next === null) return [{ state: active, decidesFor: undefined }];
  const { share, state } = next;
  const inNext = (model: string) => inShare(state.suite.name, model, share);
  const others = share === 0 ? undefined : (model: string) => !inNext(model);
  return [
    { state: active, decidesFor: others },
    { state, decidesFor: inNext },
  ];
}

export function statesOf(lanes: SuiteLanes): readonly SuiteState[] {
  return lanesOf(lanes).map((lane) => lane.state);
}

/** The lanes as stored. */
export function storedLanes({ state, rollout }: Pick<LoadedSuite, 'state' | 'rollout'>): SuiteLanes {
  return { active: state, next: rollout.open === null ? null : nextLane(state, rollout.open) };
}

export function nextLane(active: SuiteState, open: OpenRollout): NextLane {
  const { suite, scoredTickMs, judgedAfterMs } = open;
  // Ticks of it that lie before it was taken up are not judged.
  const decidedTickMs =
    active.decidedTickMs === null ? null : Math.max(active.decidedTickMs, judgedAfterMs ?? Number.NEGATIVE_INFINITY);
  return {
    rolloutId: open.rolloutId,
    share: open.shareInForce,
    state: { ...active, suite, scoredTickMs, decidedTickMs },
  };
}
