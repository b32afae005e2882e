import { assert } from '../core/assert.ts';

/**
 * The rows of a `COPY … TO STDOUT (FORMAT binary)`: fields are told as they stand in the bytes, nothing is decoded that is not asked for.
 * Source: Postgres' documentation of COPY, Binary Format.
 */

const SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1');
const HEADER_BYTES = SIGNATURE.length + 8;
const END = -1;

/** One row's fields, null where the value is. They point into the copied bytes. */
export type CopiedRow = readonly (Buffer | null)[];

export function* copiedRows(bytes: Buffer, fields: number): Generator<CopiedRow> {
  assert(bytes.subarray(0, SIGNATURE.length).equals(SIGNATURE), 'a copy begins with its signature');
  let at = HEADER_BYTES + bytes.readInt32BE(HEADER_BYTES - 4);
  for (;;) {
    const count = bytes.readInt16BE(at);
    at += 2;
    if (count === END) return;
    assert(count === fields, 'a copied row has the fields that were asked for');
    const row: (Buffer | null)[] = [];
    for (let field = 0; field < count; field++) {
      const length = bytes.readInt32BE(at);
      at += 4;
      row.push(length < 0 ? null : bytes.subarray(at, at + length));
      at += Math.max(length, 0);
    }
    yield row;
  }
}
