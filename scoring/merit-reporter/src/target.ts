/** Report lines that go together, each ended by a line feed. The same at every try, so that Merit finds a repetition by the ids in it. */
export interface Pack {
  readonly lines: Uint8Array;
  readonly count: number;
  /** All of it; null where the target takes lines of any. */
  readonly shard: number | null;
  /** W3C. */
  readonly traceparent: string;
}

/** Where packs go. */
export interface Target {
  /** Must a pack be of one shard? */
  readonly byShard: boolean;
  /** Resolves when the pack is durable there. What it throws is tried again, but for Refused. */
  deliver(pack: Pack, signal: AbortSignal): Promise<void>;
}

/** The target asks to wait before the same is sent again. */
export class Busy extends Error {
  override name = 'Busy';
  readonly afterMs: number;

  constructor(problem: string, afterMs: number) {
    super(problem);
    this.afterMs = afterMs;
  }
}

/** The target will never take it: trying again is of no use. */
export class Refused extends Error {
  override name = 'Refused';
}
