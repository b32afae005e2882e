import { once } from 'node:events';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { clientConfig } from '../../../platform/pg-client.ts';
import { ROW_DIGEST_BYTES, ROW_KEY_BYTES, ROW_STATUS, type RowBlock } from '../../../scoring-native/row-block.ts';

/**
 * A row a report, as fast as we can make it: our own kernel reads, rows go by COPY BINARY straight from its columns, and the database finds the
 * duplicates by a unique key. A row holds what scores need and no more: key, digest, model, time, weight, values.
 */

const HEADER = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
const TRAILER = Buffer.from([0xff, 0xff]);
const FIELDS = 6;
const FLOAT8 = 701;
const ARRAY_HEADER_BYTES = 20;
const MAX_ROW_BYTES = 4096;

export const ROW_TABLES = ['rows_unique', 'rows_heap'] as const;

/** What an administrator runs in the benchmark's database. */
export function rowTables(database: string): readonly string[] {
  const columns = 'key uuid, digest bytea, model integer, observed_ms bigint, weight integer, x double precision[]';
  return [
    `create table rows_unique (${columns}, primary key (key))`,
    `create table rows_heap (${columns})`,
    `grant select, insert on rows_unique, rows_heap to merit_engine`,
    `grant temporary on database ${database} to merit_engine`,
  ];
}

export class RowWriter {
  readonly #client: pg.Client;

  private constructor(client: pg.Client) {
    this.#client = client;
  }

  static async open(url: string): Promise<RowWriter> {
    const client = new pg.Client(clientConfig(url, 'merit bench'));
    await client.connect();
    await client.query('create temporary table arrived (like rows_heap) on commit delete rows');
    return new RowWriter(client);
  }

  async close(): Promise<void> {
    await this.#client.end();
  }

  /** One transaction: into a temporary table, then into the keyed one in the order of keys; what is known already is left out. */
  async flushUnique(rows: Buffer): Promise<void> {
    await this.#client.query('begin');
    await this.#copy('arrived', rows);
    await this.#client.query('insert into rows_unique select * from arrived order by key on conflict (key) do nothing');
    await this.#client.query('commit');
  }

  /** One transaction into a table without a key: duplicates were found in memory. */
  async flushHeap(rows: Buffer): Promise<void> {
    await this.#client.query('begin');
    await this.#copy('rows_heap', rows);
    await this.#client.query('commit');
  }

  /** A statement and a transaction a report. */
  async insertOne(key: Buffer, digest: Buffer): Promise<void> {
    await this.#client.query({
      name: 'insert-one',
      text: `insert into rows_unique (key, digest, model, observed_ms, weight, x)
             values (encode($1, 'hex')::uuid, $2, 1, 0, 1, '{0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5}') on conflict (key) do nothing`,
      values: [key, digest],
    });
  }

  async #copy(table: string, rows: Buffer): Promise<void> {
    const stream = this.#client.query(copyFrom(`copy ${table} from stdin (format binary)`));
    const finished = once(stream, 'finish');
    stream.write(HEADER);
    stream.write(rows);
    stream.end(TRAILER);
    await finished;
  }
}

/** The checked rows of blocks in COPY BINARY's form. `take` gives them and begins anew. */
export class RowEncoder {
  #bytes = Buffer.allocUnsafe(1024 * 1024);
  #at = 0;
  rows = 0;

  /** `accepted`: only rows that the kernel was offered and took; else all that were read. */
  add(block: RowBlock, options: { readonly accepted: boolean }): void {
    const wanted = options.accepted ? ROW_STATUS.accepted : ROW_STATUS.checked;
    const { digest, key, model, observedAtMs, metricStride, status, weight, x } = block.columns;
    for (let row = 0; row < block.rows; row++) {
      if (status[row] !== wanted) continue;
      this.#begin(key, row * ROW_KEY_BYTES, digest, row * ROW_DIGEST_BYTES);
      this.#end(model[row]!, observedAtMs[row]!, weight[row]!, x, row * metricStride, metricStride);
    }
  }

  /** A row read by other means: 16 bytes of key, 32 of digest. */
  addOne(
    key: Uint8Array,
    digest: Uint8Array,
    report: {
      readonly model: number;
      readonly observedAtMs: number;
      readonly weight: number;
      readonly x: Float64Array;
    },
  ): void {
    this.#begin(key, 0, digest, 0);
    this.#end(report.model, report.observedAtMs, report.weight, report.x, 0, report.x.length);
  }

  #begin(key: Uint8Array, keyAt: number, digest: Uint8Array, digestAt: number): void {
    if (this.#at + MAX_ROW_BYTES > this.#bytes.length) this.#grow();
    this.#int16(FIELDS);
    this.#raw(key, keyAt, ROW_KEY_BYTES);
    this.#raw(digest, digestAt, ROW_DIGEST_BYTES);
  }

  #end(model: number, observedAtMs: number, weight: number, x: Float64Array, from: number, count: number): void {
    this.#int32(4);
    this.#int32(model);
    this.#int32(8);
    this.#at = this.#bytes.writeBigInt64BE(BigInt(observedAtMs), this.#at);
    this.#int32(4);
    this.#int32(weight);
    this.#doubles(x, from, count);
    this.rows++;
  }

  take(): Buffer {
    const bytes = this.#bytes.subarray(0, this.#at);
    this.#bytes = Buffer.allocUnsafe(this.#bytes.length);
    this.#at = 0;
    this.rows = 0;
    return bytes;
  }

  #doubles(values: Float64Array, from: number, count: number): void {
    this.#int32(ARRAY_HEADER_BYTES + count * 12);
    this.#int32(1);
    this.#int32(0);
    this.#int32(FLOAT8);
    this.#int32(count);
    this.#int32(1);
    for (let i = 0; i < count; i++) {
      this.#int32(8);
      this.#at = this.#bytes.writeDoubleBE(values[from + i]!, this.#at);
    }
  }

  #raw(bytes: Uint8Array, from: number, length: number): void {
    this.#int32(length);
    for (let i = 0; i < length; i++) this.#bytes[this.#at++] = bytes[from + i]!;
  }

  #int16(value: number): void {
    this.#at = this.#bytes.writeInt16BE(value, this.#at);
  }

  #int32(value: number): void {
    this.#at = this.#bytes.writeInt32BE(value | 0, this.#at);
  }

  #grow(): void {
    const grown = Buffer.allocUnsafe(this.#bytes.length * 2);
    this.#bytes.copy(grown, 0, 0, this.#at);
    this.#bytes = grown;
  }
}
