import { assert } from '../../core/assert.ts';
import type { Suite } from '../../core/suite.ts';
import { Batch } from './batch.ts';
import { unpackBlock, wordsOfBytes } from './dedup-index.ts';
import { DedupShards } from './dedup-shards.ts';
import { deltasOfPanes, type PaneDeltas } from './pane-deltas.ts';
import { PartitionReader } from './partition-reader.ts';
import type {
  Effects,
  GivenUp,
  Outdated,
  ReaderTask,
  Segment,
  Strays,
  SuiteWorld,
  TenantSuite,
  VersionEffects,
  VersionWorld,
  World,
} from './reader-tasks.ts';
import { Routing } from './routing.ts';
import { setAside } from './set-aside.ts';
import { type Routes, routesOf } from './shards.ts';
import { SuiteBatch } from './suite-batch.ts';
import { suiteKey } from './suite-state.sql.ts';

type Task<Kind extends ReaderTask['kind']> = Extract<ReaderTask, { readonly kind: Kind }>;

/**
 * Reads the log for one consumer: all work on reports that needs no database. It knows which reports were accepted, reads lines by a kernel
 * a partition, and says what they do. It lives in a thread of its own (reader.worker.ts), and nothing in it is kept elsewhere: what it
 * forgets is loaded again from Postgres and the log.
 */
export class LogReader {
  readonly #routes: Routes;
  readonly #known = new DedupShards();
  readonly #suites = new Map<string, Map<string, Suite>>();
  readonly #partitions = new Map<number, PartitionReader>();
  /** What was drawn last, until it is done. */
  #drawn: { readonly partition: number; readonly batch: Batch } | undefined;

  constructor(partitions = 1) {
    this.#routes = routesOf(partitions);
  }

  remember({ blocks }: Task<'remember'>): void {
    for (const block of blocks) {
      for (const { key, digest } of unpackBlock(Buffer.from(block)))
        this.#known.addWords(wordsOfBytes(key), 0, wordsOfBytes(digest), 0);
    }
  }

  load({ partition, suites, packed, maxLines }: Task<'load'>): Segment {
    for (const suite of suites) this.#learn(suite);
    const reader = this.#reader(partition);
    reader.load(packed);
    return segmentOf(reader, maxLines);
  }

  #learn({ tenant, suite }: TenantSuite): void {
    const ofTenant = this.#suites.get(tenant) ?? new Map<string, Suite>();
    this.#suites.set(tenant, ofTenant);
    ofTenant.set(suite.name, suite);
  }

  #reader(partition: number): PartitionReader {
    let reader = this.#partitions.get(partition);
    if (reader === undefined) {
      const routing = new Routing(partition, this.#routes);
      reader = new PartitionReader((tenant) => this.#suites.get(tenant) ?? new Map(), routing);
      this.#partitions.set(partition, reader);
    }
    return reader;
  }

  strays({ partition, from, to }: Task<'strays'>): Strays {
    const reader = this.#reader(partition);
    return reader.strays(from, Math.min(to, reader.size));
  }

  /** Changes nothing: it may be asked again, of fewer lines too. */
  apply({ partition, lines, world }: Task<'apply'>): Effects | Outdated {
    const reader = this.#reader(partition);
    const count = Math.min(lines, reader.size);
    assert(count > 0, 'apply: there are lines');
    if (!this.#isCurrent(reader, count, world)) return { kind: 'outdated' };
    reader.begin(count);
    const works = world.suites.map((suite) => new SuiteWork(suite));
    const within = {
      partition,
      logAppendMs: world.logAppendMs,
      lastAppendMs: world.lastAppendMs,
      suites: new Map(works.map(({ key, active }) => [key, active])),
      next: new Map(works.flatMap(({ key, next }) => (next === null ? [] : [[key, next] as const]))),
      versions: world.versions,
      known: this.#known,
      routing: reader.routing,
      strayMarks: world.strayMarks,
    };
    const batch = new Batch(within, count);
    const { stretch } = reader;
    if (stretch.kind === 'rows') batch.takeRows(stretch.rows, stretch.from, stretch.from + count);
    else for (let i = 0; i < count; i++) if (!batch.take(stretch.lines[i]!)) break;
    this.#drawn = { partition, batch };
    const panes = reader.panes(batch.lines);
    return {
      kind: 'effects',
      lines: batch.lines,
      next: batch.next!,
      traceId: batch.final?.traceId ?? reader.traceIdAt(batch.lines - 1),
      suites: works.map((work) => work.effects(partition, panes.get(work.key))),
      counters: [...batch.counters.values()],
      asides: batch.asides,
      dedup: batch.entries.blocks(),
      strayMarks: batch.strayMarks,
    };
  }

  /** Were the lines read by the versions that the transaction found? Suites that it found and reading did not know count too. */
  #isCurrent(reader: PartitionReader, count: number, world: World): boolean {
    const found = world.suites.map(({ active }) => active.state);
    const named = reader.tenants(count);
    return found.every(
      ({ tenant, suite }) => !named.has(tenant) || this.#suites.get(tenant)?.get(suite.name)?.hash === suite.hash,
    );
  }

  done({ partition, maxLines }: Task<'done'>): Segment {
    assert(this.#drawn?.partition === partition, 'done: effects were drawn');
    const { batch } = this.#drawn;
    this.#drawn = undefined;
    batch.entries.addTo(this.#known);
    const reader = this.#reader(partition);
    reader.done(batch.lines);
    return segmentOf(reader, maxLines);
  }

  giveUp({ partition, problem, maxLines }: Task<'give-up'>): GivenUp {
    const reader = this.#reader(partition);
    const first = reader.lineAt(0);
    const asides: GivenUp['asides'][number][] = [];
    const aside = { code: 'handler_failed', field: '', position: 0, problem } as const;
    for (;;) {
      if (reader.size === 0 || reader.lineAt(0).message.offset !== first.message.offset) break;
      const ofFirst = reader.ofFirst(reader.size);
      for (let i = 0; i < ofFirst; i++) {
        const line = reader.lineAt(i);
        if (reader.routing.lineRoute(line) === undefined) asides.push(setAside(line, aside));
      }
      reader.done(ofFirst);
    }
    const { appendedAtMs, offset, tenant } = first.message;
    return {
      offset,
      tenant,
      asides,
      appendedAtMs: Math.floor(appendedAtMs),
      segment: segmentOf(reader, maxLines),
    };
  }

  clear({ partition }: Task<'clear'>): void {
    this.#reader(partition).clear();
  }

  /** The partition is read elsewhere from now on, and so are reports of these shards. */
  drop({ partition, shards }: Task<'drop'>): void {
    this.#partitions.delete(partition);
    this.#known.forget(shards);
  }

  /** They are loaded anew. */
  forget({ shards }: Task<'forget'>): void {
    this.#known.forget(shards);
  }

  get known(): number {
    return this.#known.size;
  }
}

function segmentOf(reader: PartitionReader, maxLines: number): Segment {
  const lines = Math.min(reader.size, maxLines);
  const { suites, models } = reader.names(lines);
  const first = lines === 0 ? undefined : reader.messageAt(0);
  return {
    lines,
    firstOffset: first?.offset ?? 0n,
    ofFirst: reader.ofFirst(lines),
    lastStray: reader.lastStray(lines),
    cameFromElsewhere: reader.hasStrayMessages(lines),
    oldestMs: first?.appendedAtMs ?? 0,
    suites,
    models,
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
