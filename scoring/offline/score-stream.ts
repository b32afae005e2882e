import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Suite } from '../../core/suite.ts';
import { checksumRows, SortedRowsHash } from '../rules/checksum.ts';
import { referencePipeline } from '../rules/oracle.ts';
import { compareText } from '../rules/pane-table.ts';
import type { PublishedModel } from '../rules/published.ts';
import { scoreModels } from '../rules/score-models.ts';
import { DigestSorter } from './digest-sorter.ts';
import { WindowsAt } from './windows-at.ts';

/** What `merit score` prints. */
export interface OfflineScores {
  readonly suite: string;
  readonly suiteHash: string;
  readonly at: string;
  readonly inputDigest: string;
  readonly checksum: string;
  readonly accepted: number;
  readonly quarantined: number;
  readonly duplicates: number;
  readonly conflicts: number;
  readonly models: readonly PublishedModel[];
}

/** A line that was quarantined, or a report in conflict with an earlier one. */
export interface Notice {
  /** 1-based, in its own source. */
  readonly line: number;
  readonly reason: string;
}

export interface OfflineInput {
  readonly suite: Suite;
  readonly atMs: number;
  /** One a file: NDJSON bytes in any chunking. Sources form one log, in order. */
  readonly sources: Iterable<AsyncIterable<Uint8Array>>;
  /** Called after each chunk with what it set aside and the lines done so far; the next chunk waits for it. */
  readonly onChunk: (notices: readonly Notice[], source: number, linesDone: number) => Promise<void>;
  /** Stops between chunks by throwing its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Digests held in memory before sorting spills to disk; for tests. */
  readonly maxDigestsInMemory?: number;
}

/**
 * Scores reports offline at T: no server, no lateness, no clock skew; every valid report is accepted, and what lies
 * outside every window counts and enters inputDigest, but no score. Reports of other suites likewise. Memory does not
 * grow with the reports but for about 45 bytes each that remember its id.
 * Throws what the sources throw, and OperatingError-free otherwise.
 */
export async function scoreStream(input: OfflineInput): Promise<OfflineScores> {
  const { suite, atMs } = input;
  const digests = new DigestSorter(input.maxDigestsInMemory);
  try {
    const windows = new WindowsAt(suite, atMs);
    let notices: Notice[] = [];
    const pipeline = referencePipeline([suite], {
      take: ({ contribution }, digest) => {
        digests.add(digest);
        if (contribution !== null) windows.add(contribution);
      },
      setAside: (line, _kind, { reason }) => notices.push({ line, reason }),
    });
    const settle = async (source: number) => {
      const told = notices;
      notices = [];
      const { accepted, quarantined, duplicates, conflicts } = pipeline.counts();
      await input.onChunk(told, source, accepted + quarantined + duplicates + conflicts);
    };
    let source = 0;
    for (const chunks of input.sources) {
      for await (const chunk of chunks) {
        input.signal?.throwIfAborted();
        pipeline.push(chunk);
        await settle(source);
      }
      pipeline.endFile();
      await settle(source);
      source++;
    }
    const models = scoreModels({ suite, atMs, models: windows.sums() });
    return {
      suite: suite.name,
      suiteHash: suite.hash,
      at: formatRfc3339(atMs),
      inputDigest: digests.hex(),
      checksum: modelsChecksum(suite, atMs, models),
      ...pipeline.counts(),
      models,
    };
  } finally {
    digests.close();
  }
}

/**
 * The checksum of one tick, holding one model's rows at a time: every row starts with suite, hash and model, and `"`,
 * which ends the model's name, sorts before every character a name may hold, so rows sort by model first.
 */
function modelsChecksum(suite: Suite, atMs: number, models: readonly PublishedModel[]): string {
  const hash = new SortedRowsHash();
  for (const model of models.toSorted((a, b) => compareText(a.model, b.model))) {
    for (const row of checksumRows(suite, atMs, model).sort()) hash.add(row);
  }
  return hash.hex();
}
