import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Suite } from '../../core/suite.ts';
import { checksumRows, SortedRowsHash } from '../rules/checksum.ts';
import { compareText } from '../rules/pane-table.ts';
import type { PublishedModel } from '../rules/published.ts';
import { scoreModels } from '../rules/score-models.ts';
import { DigestSorter } from './digest-sorter.ts';
import { type MakeEngine, type Notice, nativeEngine } from './offline-engine.ts';

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
  /** The native kernel, unless a test asks for the reference. */
  readonly engine?: MakeEngine;
}

/**
 * Scores reports offline at T: no server, no lateness, no clock skew; every valid report is accepted, and what lies
 * outside every window counts and enters inputDigest, but no score. Reports of other suites likewise. Memory does not
 * grow with the reports but for about 45 bytes each that remember its id.
 * Throws what the sources throw, and OperatingError `capacity` where a limit of the kernel is reached.
 */
export async function scoreStream(input: OfflineInput): Promise<OfflineScores> {
  const { suite, atMs } = input;
  const digests = new DigestSorter(input.maxDigestsInMemory);
  try {
    const engine = (input.engine ?? nativeEngine)(suite, atMs, digests);
    const settle = async (notices: readonly Notice[], source: number) => {
      const { accepted, quarantined, duplicates, conflicts } = engine.counts();
      await input.onChunk(notices, source, accepted + quarantined + duplicates + conflicts);
    };
    let source = 0;
    for (const chunks of input.sources) {
      for await (const chunk of chunks) {
        input.signal?.throwIfAborted();
        await settle(engine.push(chunk), source);
      }
      await settle(engine.endFile(), source);
      source++;
    }
    const models = scoreModels({ suite, atMs, models: engine.sums() });
    return {
      suite: suite.name,
      suiteHash: suite.hash,
      at: formatRfc3339(atMs),
      inputDigest: digests.hex(),
      checksum: modelsChecksum(suite, atMs, models),
      ...engine.counts(),
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
