import type { Suite } from '../../core/suite.ts';
import type { EdgeEntry } from '../rules/edge.ts';
import type { EvidenceRow } from '../rules/evidence.ts';
import type { PartitionMark } from '../rules/watermark.ts';
import type { Counters } from './batch.ts';
import type { DedupBlock } from './dedup-index.ts';
import type { PackedMessages } from './packed-messages.ts';
import type { PaneDeltas } from './pane-deltas.ts';
import type { Position } from './read-lines.ts';
import type { SetAside } from './set-aside.ts';
import type { StrayMark, StrayMessage } from './strays.ts';
import type { OpenWatch, TickReports } from './suite-batch.ts';
import type { SuiteRef, SuiteState } from './suite-state.sql.ts';

/** What the consumer and the thread that reads for it say to each other. */

export interface TenantSuite {
  readonly tenant: string;
  readonly suite: Suite;
}

/** Lines that were read and are not done, as many as a flush may take. */
export interface Segment {
  /** 0: all that was loaded is done. */
  readonly lines: number;
  readonly firstOffset: bigint;
  /** Lines of the first message among them. */
  readonly ofFirst: number;
  /** Lines up to the last that belongs to another partition, with it; 0: none does. */
  readonly lastStray: number;
  /** Some came from another partition: what was taken in of it has to be known. */
  readonly cameFromElsewhere: boolean;
  /** Append time of the first line's message. */
  readonly oldestMs: number;
  readonly suites: readonly SuiteRef[];
  readonly models: readonly { readonly tenant: string; readonly model: string }[];
}

/** One version of a suite as a transaction found it. */
export interface VersionWorld {
  readonly state: SuiteState;
  readonly watches: readonly OpenWatch[];
  readonly marks: readonly PartitionMark[];
  readonly edge: readonly EdgeEntry[];
}

export interface SuiteWorld {
  readonly active: VersionWorld;
  readonly next: VersionWorld | null;
}

/** What the effects of lines depend on. */
export interface World {
  /** The log's greatest append time when the lines were read. */
  readonly logAppendMs: number;
  /** The partition's last append as far as idleness goes: of one with unread messages, logAppendMs. */
  readonly lastAppendMs: number;
  readonly suites: readonly SuiteWorld[];
  /** tenant/version → retired? */
  readonly versions: ReadonlyMap<string, boolean>;
  /** How far lines of other partitions were taken in here. */
  readonly strayMarks: readonly StrayMark[];
}

/** What lines did to one version of a suite. */
export interface VersionEffects {
  readonly state: SuiteState;
  readonly touched: boolean;
  readonly counted: number;
  readonly refused: number;
  readonly missed: number;
  readonly panes: readonly PaneDeltas[];
  readonly evidence: readonly EvidenceRow[];
  readonly edge: readonly EdgeEntry[];
  readonly tickReports: readonly TickReports[];
  /** Of the partition; undefined: it has none yet. */
  readonly mark: PartitionMark | undefined;
  readonly rescore: { readonly fromMs: number; readonly toMs: number } | undefined;
}

export interface SuiteEffects {
  readonly active: VersionEffects;
  readonly next: VersionEffects | null;
}

export interface Effects {
  readonly kind: 'effects';
  /** Lines done: it ends early behind a line that makes a tick final. */
  readonly lines: number;
  readonly next: Position & { readonly appendedAtMs: number };
  /** Of the last line. */
  readonly traceId: string;
  /** In the order of the world's suites. */
  readonly suites: readonly SuiteEffects[];
  readonly counters: readonly { readonly tenant: string; readonly suite: string; readonly counts: Counters }[];
  readonly asides: readonly SetAside[];
  readonly dedup: readonly DedupBlock[];
  /** Those that moved. */
  readonly strayMarks: readonly StrayMark[];
}

/** Lines were read by another version of a suite than the transaction found: they must be loaded again. */
export interface Outdated {
  readonly kind: 'outdated';
}

export type ReaderTask =
  /** Everything from before is forgotten. The topic has so many partitions. */
  | { readonly kind: 'open'; readonly partitions: number }
  /** Reports that are known, as packed blocks. */
  | { readonly kind: 'remember'; readonly blocks: readonly Uint8Array[] }
  /** Reports of these shards. */
  | { readonly kind: 'forget'; readonly shards: readonly number[] }
  | {
      readonly kind: 'load';
      readonly partition: number;
      /** Suites that are new, or in another version, since the last time. */
      readonly suites: readonly TenantSuite[];
      readonly packed: PackedMessages;
      readonly maxLines: number;
    }
  /** Lines [from, to) as far as they belong to other partitions. */
  | { readonly kind: 'strays'; readonly partition: number; readonly from: number; readonly to: number }
  | { readonly kind: 'apply'; readonly partition: number; readonly lines: number; readonly world: World }
  /** The effects last drawn are stored: their lines are done, their reports known. */
  | { readonly kind: 'done'; readonly partition: number; readonly maxLines: number }
  /** Every line of the first message is given up. */
  | { readonly kind: 'give-up'; readonly partition: number; readonly problem: string; readonly maxLines: number }
  /** What was read ahead is forgotten. */
  | { readonly kind: 'clear'; readonly partition: number }
  | { readonly kind: 'drop'; readonly partition: number; readonly shards: readonly number[] };

export type Strays = readonly StrayMessage[];

export interface GivenUp {
  readonly offset: bigint;
  readonly tenant: string;
  /** Without those that were sent on. */
  readonly asides: readonly SetAside[];
  readonly appendedAtMs: number;
  readonly segment: Segment;
}
