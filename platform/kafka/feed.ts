import type { Fetched, KafkaRecord } from './client.ts';

/** Beyond its value, what a record counts for in memory. */
const RECORD_BYTES = 200;

/** Records of one partition that were fetched and not yet read: those of [from, to), markers and gaps among them. */
export class Feed {
  #from: bigint;
  #to: bigint;
  #records: KafkaRecord[] = [];
  #bytes = 0;
  /** Of a fetch under way from `to` on. */
  fetching: Promise<void> | undefined;
  readAtMs = 0;

  constructor(offset: bigint) {
    this.#from = offset;
    this.#to = offset;
  }

  get from(): bigint {
    return this.#from;
  }

  /** Where the next fetch goes on. */
  get to(): bigint {
    return this.#to;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#records.length === 0;
  }

  /** Whether a reader at `offset` goes on here. */
  covers(offset: bigint): boolean {
    return this.#from <= offset && offset <= this.#to;
  }

  /** False where the reply does not follow on what is here: another one did meanwhile. */
  add({ offset, records, nextOffset }: Fetched): boolean {
    if (offset !== this.#to) return false;
    for (const record of records) {
      this.#records.push(record);
      this.#bytes += sizeOf(record);
    }
    this.#to = nextOffset;
    return true;
  }

  /** The reader is at `offset`, which this covers. */
  skipTo(offset: bigint): void {
    const start = this.#records.findIndex((record) => record.offset >= offset);
    this.#drop(start === -1 ? this.#records.length : start);
    this.#from = offset;
  }

  /** At most that many and about that much, at least one where there is one. */
  take(maxMessages: number, maxBytes: number): readonly KafkaRecord[] {
    let count = 0;
    let bytes = 0;
    for (const { value } of this.#records) {
      if (count === maxMessages || (count > 0 && bytes >= maxBytes)) break;
      bytes += value?.length ?? 0;
      count++;
    }
    const taken = this.#drop(count);
    const last = taken.at(-1);
    if (last !== undefined) this.#from = last.offset + 1n;
    return taken;
  }

  #drop(count: number): readonly KafkaRecord[] {
    const dropped = this.#records.splice(0, count);
    for (const record of dropped) this.#bytes -= sizeOf(record);
    return dropped;
  }
}

function sizeOf({ value }: KafkaRecord): number {
  return RECORD_BYTES + (value?.length ?? 0);
}
