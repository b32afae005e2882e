import type { Difference } from '../backtest/compare.ts';

/** What of the live side and of the replay is to be equal. */
export interface Sides {
  readonly live: string;
  readonly replay: string;
}

/** The first thing that differs, as far down as it can be told. `live`: what was published; `replay`: what came of reading again. */
export interface FirstDifference {
  readonly suite: string;
  readonly suiteHash: string;
  readonly tick: string;
  readonly model: string;
  /** A window of the model; null: the difference is not within one. */
  readonly window: string | null;
  readonly metric: string | null;
  readonly live: unknown;
  readonly replay: unknown;
  /** The first pane of that window that differs, where both still have it. */
  readonly pane: PaneDifference | null;
  /** Comparisons of ranges of ticks that it took. */
  readonly steps: number;
}

export interface PaneDifference {
  readonly minutes: number;
  readonly start: string;
  /** Reports in it; null: there is no such pane. */
  readonly live: number | null;
  readonly replay: number | null;
}

export interface ScoreDifference {
  readonly suite: string;
  readonly tick: string;
  readonly model: string;
  readonly live: unknown;
  readonly replay: unknown;
  /** Short facts, the weightiest first. */
  readonly why: readonly string[];
}

export interface EvidenceDifference {
  readonly suite: string;
  readonly tick: string;
  readonly model: string;
  readonly action: string;
  readonly live: unknown;
  readonly replay: unknown;
}

/** What a replay came to, fixed when it ended. */
export interface ReplayResult {
  /** Everything that is to be equal is. Of a replay under another suite: nothing differs. */
  readonly equal: boolean;
  /** Ticks compared; null: no bound. */
  readonly range: { readonly from: string | null; readonly to: string | null };
  readonly scores: { readonly live: number; readonly replay: number; readonly differ: number };
  /** Replay proof (b), a suite each. */
  readonly checksums: readonly (Sides & { readonly suite: string })[];
  /** Replay proof (a), over the reports that the live side still remembers: those observed from `from` on. */
  readonly inputDigest: Sides & { readonly from: string | null };
  /** Segments held to their SHA-256 and to the chain; null: the log was read. */
  readonly archive: { readonly segments: number; readonly messages: number } | null;
  readonly first: FirstDifference | null;
  /** null: contests were not replayed. */
  readonly decisions: { readonly live: number; readonly replay: number } | null;
  readonly diff: {
    readonly scores: readonly ScoreDifference[];
    readonly decisions: readonly (Difference & { readonly suite: string })[];
    readonly evidence: readonly EvidenceDifference[];
  };
  /** What could not be held against what was live, in words. */
  readonly notes: readonly string[];
}
