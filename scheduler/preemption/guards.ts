import type { GuardInput } from '../../pools/planner-input.ts';
import type { QuotaTree } from '../../pools/quota-tree.ts';
import type { Work } from '../admission/world.ts';

const NO_GUARDS: GuardInput = { pool: null, minRunMs: 0, maxCheckpointAgeMs: null, rate: null, graceMs: 0 };
/** One preemption in the bucket's own unit: what flows in during a millisecond is then a whole number. */
const TOKEN = 3_600_000;

interface Bucket {
  readonly level: number;
  readonly atMs: number;
}

/** What keeps preemption from thrashing: minimum run time, age of the checkpoint, and a token bucket a pool. */
export class Guards {
  readonly #byPool = new Map<string, GuardInput>();
  readonly #others: GuardInput;
  readonly #poolOf: ReadonlyMap<string, string>;
  readonly #tree: QuotaTree;
  readonly #buckets = new Map<string, Bucket>();

  constructor(tree: QuotaTree, guards: readonly GuardInput[], poolOf: ReadonlyMap<string, string>) {
    this.#tree = tree;
    this.#poolOf = poolOf;
    for (const guard of guards) if (guard.pool !== null) this.#byPool.set(guard.pool, guard);
    this.#others = guards.find((guard) => guard.pool === null) ?? NO_GUARDS;
  }

  /** From when on it may be a victim; Infinity: not before something new is told about it. */
  victimFromMs(work: Work, nowMs: number): number {
    let fromMs = 0;
    const { startedAtMs, checkpointedAtMs } = work.input;
    for (const cell of work.demand.cells) {
      const guard = this.#of(this.#pool(cell));
      if (guard.minRunMs > 0) fromMs = Math.max(fromMs, startedAtMs + guard.minRunMs);
      if (guard.maxCheckpointAgeMs === null || checkpointedAtMs === null) continue;
      if (nowMs - checkpointedAtMs > guard.maxCheckpointAgeMs) return Number.POSITIVE_INFINITY;
    }
    return fromMs;
  }

  graceMs(work: Work): number {
    return Math.max(0, ...work.demand.cells.map((cell) => this.#of(this.#pool(cell)).graceMs));
  }

  /** From when on so many victims may be taken; Infinity: never. */
  allowedFromMs(victims: readonly Work[], nowMs: number): number {
    let fromMs = nowMs;
    for (const [pool, count] of this.#count(victims)) {
      const { rate } = this.#of(pool);
      if (rate === null) continue;
      const missing = count * TOKEN - this.#level(pool, nowMs);
      if (missing <= 0) continue;
      if (count > rate.burst || rate.perHour === 0) return Number.POSITIVE_INFINITY;
      fromMs = Math.max(fromMs, nowMs + Math.ceil(missing / rate.perHour));
    }
    return fromMs;
  }

  /** From when on one victim may be taken that uses one of the cells; Infinity: never. */
  oneFromMs(cells: readonly number[], nowMs: number): number {
    let fromMs = Number.POSITIVE_INFINITY;
    for (const pool of new Set(cells.map((cell) => this.#pool(cell)))) {
      const { rate } = this.#of(pool);
      const missing = rate === null ? 0 : TOKEN - this.#level(pool, nowMs);
      if (missing <= 0) return nowMs;
      if (rate!.burst > 0 && rate!.perHour > 0) fromMs = Math.min(fromMs, nowMs + Math.ceil(missing / rate!.perHour));
    }
    return fromMs;
  }

  take(victims: readonly Work[], nowMs: number): void {
    for (const [pool, count] of this.#count(victims)) {
      if (this.#of(pool).rate === null) continue;
      this.#buckets.set(pool, { level: this.#level(pool, nowMs) - count * TOKEN, atMs: nowMs });
    }
  }

  /** A new configuration does not fill the buckets. */
  takeOver(before: Guards): void {
    for (const [pool, bucket] of before.#buckets) this.#buckets.set(pool, bucket);
  }

  #level(pool: string, nowMs: number): number {
    const rate = this.#of(pool).rate!;
    const bucket = this.#buckets.get(pool);
    if (bucket === undefined) return rate.burst * TOKEN;
    return Math.min(rate.burst * TOKEN, bucket.level + Math.max(0, nowMs - bucket.atMs) * rate.perHour);
  }

  #count(victims: readonly Work[]): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const { demand } of victims) {
      const pools = new Set(demand.cells.map((cell) => this.#pool(cell)));
      for (const pool of pools) counts.set(pool, (counts.get(pool) ?? 0) + 1);
    }
    return counts;
  }

  #pool(cell: number): string {
    const { flavour } = this.#tree.cells[cell]!;
    return this.#poolOf.get(flavour) ?? flavour;
  }

  #of(pool: string): GuardInput {
    return this.#byPool.get(pool) ?? this.#others;
  }
}
