import { type Instance, wordAt } from './instance.ts';

/** Length of a text in a record of assembly/intern.ts. */
const LENGTH = 4;

/** The texts that the ids of a column stand for. */
export class Ids {
  readonly #instance: Instance;
  readonly #table: number;
  readonly #texts: string[] = [];

  constructor(instance: Instance, table: number) {
    this.#instance = instance;
    this.#table = table;
  }

  /** Ids so far: 0 … size − 1. */
  get size(): number {
    return this.#instance.wasm.internedCount(this.#table);
  }

  /** The text of an id, decoded once and kept. */
  text(id: number): string {
    this.#texts[id] ??= Buffer.from(this.bytes(id)).toString('utf8');
    return this.#texts[id];
  }

  /** The UTF-8 of an id's text: a view that holds until the reader is given more. */
  bytes(id: number): Uint8Array {
    if (!(Number.isInteger(id) && id >= 0 && id < this.size)) throw new RangeError(`there is no id ${id}`);
    const record = this.#instance.wasm.internedRecord(this.#table, id);
    const at = wordAt(this.#instance, record);
    return new Uint8Array(this.#instance.memory.buffer, at, wordAt(this.#instance, record + LENGTH));
  }
}
