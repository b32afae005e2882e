import { assert } from '../../core/assert.ts';
import type { Suite } from '../../core/suite.ts';
import { Batch, SuiteBatch } from './batch.ts';
import { DedupIndex, packBlocks, unpackBlock } from './dedup-index.ts';
import { deltasOfPanes, type PaneDeltas } from './pane-deltas.ts';
import { PartitionReader } from './partition-reader.ts';
import type { LogLine } from './read-lines.ts';
import type {
  Effects,
  GivenUp,
  Outdated,
  ReaderTask,
  Segment,
  SuiteWorld,
  TenantSuite,
  VersionEffects,
  VersionWorld,
  World,
} from './reader-tasks.ts';
import { setAside } from './set-aside.ts';
import { type SuiteRef, suiteKey } from './suite-state.sql.ts';

type Task<Kind extends ReaderTask['kind']> = Extract<ReaderTask, { readonly kind: Kind }>;

/**
 * Reads the log for one consumer: all work on reports that needs no database. It knows which reports were accepted, reads lines by a kernel
 * a partition, and says what they do. It lives in a thread of its own (reader.worker.ts), and nothing in it is kept elsewhere: what it
 * forgets is loaded again from Postgres and the log.
 */
export class LogReader {
  readonly #known = new DedupIndex();
  readonly #suites = new Map<string, Map<string, Suite>>();
  readonly #partitions = new Map<number, PartitionReader>();
  /** What was drawn last, until it is done. */
  #drawn: { readonly partition: number; readonly batch: Batch } | undefined;

  remember({ blocks }: Task<'remember'>): void {
    for (const block of blocks)
      for (const { key, digest } of unpackBlock(Buffer.from(block))) this.#known.add(key, digest);
  }

  load({ partition, suites, packed, maxLines }: Task<'load'>): Segment {
    for (const suite of suites) this.#learn(suite);
    const reader = this.#reader(partition);
    reader.load(packed);
    return segmentOf(reader.lines, maxLines);
  }

  #learn({ tenant, suite }: TenantSuite): void {
    const ofTenant = this.#suites.get(tenant) ?? new Map<string, Suite>();
    this.#suites.set(tenant, ofTenant);
    ofTenant.set(suite.name, suite);
  }

  #reader(partition: number): PartitionReader {
    let reader = this.#partitions.get(partition);
    if (reader === undefined) {
      reader = new PartitionReader((tenant) => this.#suites.get(tenant) ?? new Map());
      this.#partitions.set(partition, reader);
    }
    return reader;
  }

  /** Changes nothing: it may be asked again, of fewer lines too. */
  apply({ partition, lines, world }: Task<'apply'>): Effects | Outdated {
    const reader = this.#reader(partition);
    const segment = reader.lines.slice(0, lines);
    assert(segment.length > 0, 'apply: there are lines');
    if (!this.#isCurrent(segment, world)) return { kind: 'outdated' };
    reader.begin(segment.length);
    const works = world.suites.map((suite) => new SuiteWork(suite));
    const batch = new Batch({
      partition,
      logAppendMs: world.logAppendMs,
      lastAppendMs: world.lastAppendMs,
      suites: new Map(works.map(({ key, active }) => [key, active])),
      next: new Map(works.flatMap(({ key, next }) => (next === null ? [] : [[key, next] as const]))),
      versions: world.versions,
      known: this.#known,
    });
    for (const line of segment) if (!batch.take(line)) break;
    this.#drawn = { partition, batch };
    const panes = reader.panes(batch.lines);
    return {
      kind: 'effects',
      lines: batch.lines,
      next: batch.next!,
      traceId: batch.final?.traceId ?? segment[batch.lines - 1]!.traceId,
      suites: works.map((work) => work.effects(partition, panes.get(work.key))),
      counters: [...batch.counters.values()],
      asides: batch.asides,
      dedup: packBlocks(batch.dedupEntries()),
    };
  }

  /** Were the lines read by the versions that the transaction found? Suites that it found and reading did not know count too. */
  #isCurrent(segment: readonly LogLine[], world: World): boolean {
    const found = world.suites.map(({ active }) => active.state);
    const named = new Set(segment.map(({ message }) => message.tenant));
    return found.every(
      ({ tenant, suite }) => !named.has(tenant) || this.#suites.get(tenant)?.get(suite.name)?.hash === suite.hash,
    );
  }

  done({ partition, maxLines }: Task<'done'>): Segment {
    assert(this.#drawn?.partition === partition, 'done: effects were drawn');
    const { batch } = this.#drawn;
    this.#drawn = undefined;
    for (const { key, digest } of batch.dedupEntries()) this.#known.add(key, digest);
    const reader = this.#reader(partition);
    reader.done(batch.lines);
    return segmentOf(reader.lines, maxLines);
  }

  giveUp({ partition, problem, maxLines }: Task<'give-up'>): GivenUp {
    const reader = this.#reader(partition);
    const first = reader.lines[0]!;
    const asides: GivenUp['asides'][number][] = [];
    const aside = { code: 'handler_failed', field: '', position: 0, problem } as const;
    for (;;) {
      const { ofFirst } = segmentOf(reader.lines, reader.lines.length);
      if (ofFirst === 0 || reader.lines[0]!.message.offset !== first.message.offset) break;
      for (const line of reader.lines.slice(0, ofFirst)) {
        asides.push(setAside(line, aside, line.reading.ok ? line.reading.report.producer : null));
      }
      reader.done(ofFirst);
    }
    return { asides, appendedAtMs: Math.floor(first.message.appendedAtMs), segment: segmentOf(reader.lines, maxLines) };
  }

  clear({ partition }: Task<'clear'>): void {
    this.#reader(partition).clear();
  }

  /** The index is loaded anew. */
  forget(): void {
    this.#known.clear();
  }

  get known(): number {
    return this.#known.size;
  }
}

function segmentOf(lines: readonly LogLine[], maxLines: number): Segment {
  const segment = lines.slice(0, maxLines);
  const suites = new Map<string, SuiteRef>();
  const models = new Map<string, { readonly tenant: string; readonly model: string }>();
  const firstOffset = segment[0]?.message.offset ?? 0n;
  let ofFirst = 0;
  for (const { message, reading } of segment) {
    if (message.offset === firstOffset) ofFirst++;
    if (!reading.ok) continue;
    const { tenant } = message;
    const { model, suite } = reading.report;
    suites.set(suiteKey(tenant, suite), { tenant, name: suite });
    models.set(suiteKey(tenant, model), { tenant, model });
  }
  return {
    lines: segment.length,
    firstOffset,
    ofFirst,
    suites: [...suites.values()],
    models: [...models.values()],
  };
}

/** A suite under each version that is kept. */
class SuiteWork {
  readonly key: string;
  readonly active: SuiteBatch;
  readonly next: SuiteBatch | null;

  constructor({ active, next }: SuiteWorld) {
    this.key = suiteKey(active.state.tenant, active.state.suite.name);
    this.active = batchOf(active);
    this.next = next === null ? null : batchOf(next);
  }

  effects(partition: number, native: PaneDeltas | undefined): Effects['suites'][number] {
    return {
      active: effectsOf(this.active, partition, native),
      next: this.next === null ? null : effectsOf(this.next, partition, undefined),
    };
  }
}

function batchOf({ state, watches, marks, edge }: VersionWorld): SuiteBatch {
  return new SuiteBatch(state, watches, marks, edge);
}

function effectsOf(batch: SuiteBatch, partition: number, native: PaneDeltas | undefined): VersionEffects {
  const added = deltasOfPanes(batch.panes.rows());
  return {
    state: batch.state,
    touched: batch.touched,
    counted: batch.counted,
    refused: batch.refused,
    missed: batch.missed,
    panes: [native, added].filter((deltas) => deltas !== undefined),
    evidence: batch.evidenceRows(),
    edge: batch.edge.entries(),
    tickReports: [...batch.tickReports.values()],
    mark: batch.marks.get(partition),
    rescore: batch.rescore,
  };
}
