import type { Clock } from '../clock.ts';

/** The newest positions go out this often. */
const TELL_EVERY_MS = 1_000;

/** A broker that does not answer holds nobody up who ends. */
const CLOSE_WAIT_MS = 2_000;

type Tell = (topic: string, positions: ReadonlyMap<number, bigint>) => Promise<void>;

/** Positions on their way to Kafka: only the newest of each partition is kept, and what could not be told is tried again. */
export class Positions {
  readonly #tell: Tell;
  readonly #clock: Clock;
  readonly #newest = new Map<string, Map<number, bigint>>();
  readonly #closing = new AbortController();
  #telling: Promise<void> | undefined;

  constructor(tell: Tell, clock: Clock) {
    this.#tell = tell;
    this.#clock = clock;
  }

  set(topic: string, partition: number, nextOffset: bigint): void {
    const ofTopic = this.#newest.get(topic) ?? new Map<number, bigint>();
    this.#newest.set(topic, ofTopic.set(partition, nextOffset));
    this.#telling ??= this.#tellLater();
  }

  /** What is not told yet is told now. */
  async close(): Promise<void> {
    this.#closing.abort();
    const told = new AbortController();
    const telling = (this.#telling ?? this.#tellLater()).finally(() => told.abort());
    await Promise.race([telling, this.#clock.sleep(CLOSE_WAIT_MS, told.signal)]);
  }

  /** Until all is told; behind a close it is tried once more. */
  async #tellLater(): Promise<void> {
    for (let isLast = false; this.#newest.size > 0 && !isLast; ) {
      await this.#clock.sleep(TELL_EVERY_MS, this.#closing.signal);
      isLast = this.#closing.signal.aborted;
      await this.#tellAll();
    }
    this.#telling = undefined;
  }

  async #tellAll(): Promise<void> {
    const due = [...this.#newest];
    this.#newest.clear();
    for (const [topic, positions] of due) {
      try {
        await this.#tell(topic, positions);
      } catch {
        // Advice that did not arrive is no fault of the reading; what is newer meanwhile stays.
        this.#newest.set(topic, new Map([...positions, ...(this.#newest.get(topic) ?? [])]));
      }
    }
  }
}
