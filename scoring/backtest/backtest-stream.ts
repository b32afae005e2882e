import { setImmediate as nextTurn } from 'node:timers/promises';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Suite } from '../../core/suite.ts';
import { DigestSorter } from '../offline/digest-sorter.ts';
import type { Notice } from '../offline/offline-engine.ts';
import { SortedRowsHash } from '../rules/checksum.ts';
import type { Contribution } from '../rules/contribution.ts';
import { referencePipeline } from '../rules/oracle.ts';
import { MAX_LATENESS_MS, tickAt } from '../rules/watermark.ts';
import { compareDecisions, compareScores, type Difference } from './compare.ts';
import type { BacktestDecision } from './decision-list.ts';
import { readerKey } from './reader-key.ts';
import { readingsPipeline } from './readings/merge.ts';
import { Replay, type ReplayCounts } from './replay.ts';
import { RowSpool } from './row-spool.ts';

/** What an archive of reports does not tell. */
export interface Assumed {
  readonly policy: 'allow';
  /** A model stands for the seat from its first report on. */
  readonly candidates: 'from_first_report';
  readonly retirements: 'none';
  /** Who sits at the start; null: nobody. */
  readonly incumbent: string | null;
}

/** One suite over the archive. */
export interface BacktestSide extends ReplayCounts {
  readonly suite: string;
  readonly suiteHash: string;
  /** The last final tick; null: there is none. */
  readonly lastTick: string | null;
  readonly inputDigest: string;
  readonly checksum: string;
  readonly accepted: number;
  readonly quarantined: number;
  readonly duplicates: number;
  readonly conflicts: number;
  /** Who sits at the end. */
  readonly incumbent: string | null;
  readonly assumed: Assumed;
  readonly decisions: readonly BacktestDecision[];
}

/** What `merit backtest` prints. */
export interface Backtest extends BacktestSide {
  /** The suite it is compared with; absent where there is none. */
  readonly against?: BacktestSide;
  readonly diff: readonly Difference[];
}

/** A line that was set aside; `by` where only one of two suites did. */
export interface SidedNotice extends Notice {
  readonly by?: 'suite' | 'against';
}

export interface BacktestInput {
  readonly suite: Suite;
  /** Another suite, or the same with another promotion rule; null: none. */
  readonly against: Suite | null;
  readonly incumbent: string | null;
  readonly fromMs: number | null;
  readonly untilMs: number | null;
  /** One a file: NDJSON bytes in any chunking. Sources form one log, in order. */
  readonly sources: Iterable<AsyncIterable<Uint8Array>>;
  /** The sources are those of readings (`openReadings`), of lines that were read elsewhere. */
  readonly areReadings?: boolean;
  /** Called after each chunk with what it set aside and the lines done so far; the next chunk waits for it. */
  readonly onChunk: (notices: readonly SidedNotice[], source: number, linesDone: number) => Promise<void>;
  /** Stops between chunks, and between slices of other work, by throwing its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Held in memory before spilling to disk; for tests. */
  readonly maxDigestsInMemory?: number;
  readonly maxRowBytesInMemory?: number;
  readonly maxPanes?: number;
}

/** Checksum rows hashed between two chances for others. */
const SLICE_ROWS = 4096;

/**
 * What a suite, and perhaps another, would have decided about an archive of reports: no server, no clock, nothing stored.
 * Memory does not grow with the reports but for about 45 bytes each that remember its id; see Replay for the rest.
 * Throws what the sources throw, and OperatingError where a named limit is passed.
 */
export async function backtestStream(input: BacktestInput): Promise<Backtest> {
  const sides = [input.suite, ...(input.against === null ? [] : [input.against])].map(
    (suite) => new Side(suite, input),
  );
  const readers = openReaders(sides, input);
  try {
    let source = 0;
    const settle = async () => {
      for (const side of sides) await through(side.replay.settle(), input.signal);
      await input.onChunk(noticesOf(readers), source, readers[0]!.lines);
    };
    for (const chunks of input.sources) {
      for await (const chunk of chunks) {
        input.signal?.throwIfAborted();
        for (const reader of readers) reader.pipeline.push(chunk);
        await settle();
      }
      for (const reader of readers) reader.pipeline.endFile();
      await settle();
      source++;
    }
    const [one, other] = await Promise.all(sides.map((side) => side.result(input.signal)));
    const [a, b] = sides;
    if (other === undefined || b === undefined) return { ...one!, diff: [] };
    return {
      ...one!,
      against: other,
      diff: [...compareDecisions(one!.decisions, other.decisions), ...lastScores(a!, b)],
    };
  } finally {
    for (const reader of readers) reader.digests.close();
    for (const side of sides) side.rows.close();
  }
}

class Side {
  readonly suite: Suite;
  readonly replay: Replay;
  readonly rows: RowSpool;
  readonly #incumbent: string | null;
  reader: Reader | undefined;

  constructor(suite: Suite, { incumbent, fromMs, untilMs, maxRowBytesInMemory, maxPanes }: BacktestInput) {
    this.suite = suite;
    this.rows = new RowSpool(maxRowBytesInMemory);
    this.#incumbent = incumbent;
    this.replay = new Replay({ suite, incumbent, fromMs, untilMs, rows: this.rows, maxPanes });
  }

  async result(signal: AbortSignal | undefined): Promise<BacktestSide> {
    const { suite, replay } = this;
    await through(replay.end(), signal);
    const checksum = await this.#checksum(signal);
    const { lastTickMs } = replay;
    return {
      suite: suite.name,
      suiteHash: suite.hash,
      lastTick: lastTickMs === null ? null : formatRfc3339(lastTickMs),
      inputDigest: this.reader!.inputDigest(),
      checksum,
      ...this.reader!.pipeline.counts(),
      ...replay.counts,
      incumbent: replay.incumbent,
      assumed: {
        policy: 'allow',
        candidates: 'from_first_report',
        retirements: 'none',
        incumbent: this.#incumbent,
      },
      decisions: replay.decisions,
    };
  }

  async #checksum(signal: AbortSignal | undefined): Promise<string> {
    const hash = new SortedRowsHash();
    let rows = 0;
    for (const row of this.rows.rows()) {
      hash.add(this.replay.head + row);
      if (++rows % SLICE_ROWS === 0) await pause(signal);
    }
    return hash.hex();
  }
}

/** Reads for the sides whose suites accept the same reports. */
class Reader {
  readonly sides: Side[] = [];
  readonly digests: DigestSorter;
  readonly pipeline: Pick<ReturnType<typeof referencePipeline>, 'push' | 'endFile' | 'counts'>;
  notices: Notice[] = [];
  #inputDigest: string | undefined;

  constructor(suite: Suite, pipelineOf: PipelineOf, maxDigestsInMemory: number | undefined) {
    this.digests = new DigestSorter(maxDigestsInMemory);
    this.pipeline = pipelineOf(suite, {
      take: ({ contribution }, digest) => {
        this.digests.add(digest);
        if (contribution !== null) this.#take(contribution);
      },
      setAside: (line, _kind, { reason }) => this.notices.push({ line, reason }),
    });
  }

  #take(contribution: Contribution): void {
    for (const { replay } of this.sides) replay.take(contribution);
  }

  get lines(): number {
    const { accepted, quarantined, duplicates, conflicts } = this.pipeline.counts();
    return accepted + quarantined + duplicates + conflicts;
  }

  inputDigest(): string {
    this.#inputDigest ??= this.digests.hex();
    return this.#inputDigest;
  }
}

type PipelineOf = (suite: Suite, sink: Parameters<typeof readingsPipeline>[3]) => Reader['pipeline'];

/** One reader for both sides where the suites differ in nothing that a report is checked by. */
function openReaders(sides: readonly Side[], { areReadings, maxDigestsInMemory }: BacktestInput): readonly Reader[] {
  const keys = [...new Set(sides.map(({ suite }) => readerKey(suite)))];
  const readers = new Map<string, Reader>();
  for (const side of sides) {
    const key = readerKey(side.suite);
    const pipelineOf: PipelineOf = (suite, sink) =>
      areReadings === true
        ? readingsPipeline(suite, keys.indexOf(key), keys.length, sink)
        : referencePipeline([suite], sink);
    const reader = readers.get(key) ?? new Reader(side.suite, pipelineOf, maxDigestsInMemory);
    readers.set(key, reader);
    reader.sides.push(side);
    side.reader = reader;
  }
  return [...readers.values()];
}

/** What the last chunk set aside; once where both readers say the same. */
function noticesOf(readers: readonly Reader[]): readonly SidedNotice[] {
  const [one, other] = readers.map((reader) => {
    const { notices } = reader;
    reader.notices = [];
    return notices;
  });
  if (one === undefined || other === undefined) return one ?? [];
  const textOf = ({ line, reason }: Notice) => `${line} ${reason}`;
  const [inOne, inOther] = [new Set(one.map(textOf)), new Set(other.map(textOf))];
  const sided: SidedNotice[] = [
    ...one.map((notice) => (inOther.has(textOf(notice)) ? notice : { ...notice, by: 'suite' as const })),
    ...other.filter((notice) => !inOne.has(textOf(notice))).map((notice) => ({ ...notice, by: 'against' as const })),
  ];
  return sided.sort((a, b) => a.line - b.line);
}

/** Score and rank differences at the last tick that both published, if its panes are still kept. */
function lastScores(a: Side, b: Side): readonly Difference[] {
  const [lastA, lastB] = [a.replay.lastTickMs, b.replay.lastTickMs];
  if (lastA === null || lastB === null) return [];
  const common = leastCommonMultiple(a.suite.tickMs, b.suite.tickMs);
  const tickMs = tickAt(Math.min(lastA, lastB), common);
  if (tickMs < Math.max(lastA, lastB) - MAX_LATENESS_MS) return [];
  return compareScores(formatRfc3339(tickMs), a.replay.scoresAt(tickMs), b.replay.scoresAt(tickMs));
}

function leastCommonMultiple(a: number, b: number): number {
  let [divisor, rest] = [a, b];
  while (rest !== 0) [divisor, rest] = [rest, divisor % rest];
  return (a / divisor) * b;
}

async function through(slices: Generator<void>, signal: AbortSignal | undefined): Promise<void> {
  for (const _ of slices) await pause(signal);
}

/** Lets an interrupt be heard. */
async function pause(signal: AbortSignal | undefined): Promise<void> {
  await nextTurn();
  signal?.throwIfAborted();
}
