import { isObject, type JsonObject } from './lines.ts';
import { type Left, RESTARTED, type Restart, type RestartRecord, type WitnessRecord } from './witness-record.ts';

/**
 * Each generation after the first begins with a record that says what it leaves behind, which is no less than the one before it had seen. One that
 * begins without a word hides what was witnessed: whoever may write there could put a record of any trail. What one had seen that the record after it does not say
 * came late, by a server that was about to write when the restart was; or the record hides it. A later record says that it was looked at.
 */
export class WitnessGenerations {
  readonly #seen = new Map<number, number>();
  readonly #abandoned = new Map<number, Left>();
  readonly #late = new Map<number, number>();
  #newest = 0;

  take(record: WitnessRecord): void {
    const { generation } = record;
    this.#newest = Math.max(this.#newest, generation);
    if (record.kind === 'restart') {
      this.#abandoned.set(generation, record.restart.abandoned);
      for (const { generation: before, treeSize } of record.restart.late ?? [])
        this.#late.set(before, Math.max(this.#late.get(before) ?? 0, treeSize));
    } else this.#seen.set(generation, Math.max(this.#seen.get(generation) ?? 0, record.checkpoint.treeSize));
  }

  /** What is wrong with them, once all records were taken. */
  problem(): string | undefined {
    for (let generation = 2; generation <= this.#newest; generation++) {
      const left = this.#abandoned.get(generation);
      if (left === undefined) return silentText(generation);
      if (left.generation !== generation - 1)
        return `generation ${generation} leaves behind generation ${left.generation}, which is not the one before it`;
    }
    const [late] = this.late();
    if (late === undefined) return undefined;
    const { generation, treeSize } = late;
    const said = this.#abandoned.get(generation + 1)?.treeSize;
    return `generation ${generation + 1} leaves behind ${said} events, and the one before it had seen ${treeSize}: a checkpoint came late, or the restart hides what was lost (docs/audit.md)`;
  }

  /** Generations that had seen more than any restart after them says, and how much, oldest first. */
  late(): readonly Left[] {
    return [...this.#abandoned.values()]
      .map(({ generation, treeSize: said }) => ({ generation, said, treeSize: this.#seen.get(generation) ?? 0 }))
      .filter(({ generation, said, treeSize }) => treeSize > Math.max(said, this.#late.get(generation) ?? 0))
      .map(({ generation, treeSize }) => ({ generation, treeSize }))
      .sort((one, other) => one.generation - other.generation);
  }
}

export function silentText(generation: number): string {
  return `generation ${generation} begins without a record that says why`;
}

export interface RestartsHeld {
  /** What neither an event tells of, nor a later restart says that it was lost. */
  readonly untold: readonly RestartRecord[];
  /** What was lost, as a later restart says. */
  readonly lost: readonly RestartRecord[];
}

/**
 * A trail that is put back to before an earlier restart loses the event that tells of it, and the restart that it is put back by says so in its record, which
 * nobody takes back. The last one is always told by the trail itself: nothing is after it that could say so. `told`: the generations of which an event of the trail does.
 */
export function holdRestarts(restarts: readonly RestartRecord[], told: ReadonlySet<number>): RestartsHeld {
  const silent = restarts.filter(({ generation }) => !told.has(generation));
  const isLost = (one: RestartRecord) =>
    restarts.some((later) => later.generation > one.generation && losesBy(later.restart, one));
  return { untold: silent.filter((one) => !isLost(one)), lost: silent.filter(isLost) };
}

/** A record that does not say which events were lost goes by sizes: the event of a restart has its place behind all that it began with. */
function losesBy({ untold, treeSize }: Restart, { generation, restart }: RestartRecord): boolean {
  return untold === undefined ? treeSize <= restart.treeSize : untold.includes(generation);
}

/**
 * Whether an event tells of this restart. Its id alone says little: events are named by their place in their story, so that one that was lost and one that was
 * written after it in a trail that was put back have the same.
 */
export function tellsOf(event: JsonObject, { generation, restart }: RestartRecord): boolean {
  const { id, type, data } = event;
  if (type !== RESTARTED || id !== restart.eventId || !isObject(data)) return false;
  return data.generation === generation && data.treeSize === restart.treeSize && data.reason === restart.reason;
}

/** Goes on from `a restart`. */
export function untoldOf(generation: number): string {
  return `by which generation ${generation} began, that no event tells of, and no later restart says that it was lost`;
}
