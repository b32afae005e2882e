/**
 * Values as one bytea[] in Postgres' binary wire format: pg sends a Buffer as it is. As text each byte is two hexadecimal digits, made here and
 * read there. Source: src/backend/utils/adt/arrayfuncs.c, array_recv.
 */

const BYTEA_OID = 17;
/** Dimensions, null flag, element type, length and lower bound. */
const HEADER_BYTES = 20;
const NULL_LENGTH = -1;

export function byteaArray(values: readonly (Uint8Array | null)[]): Buffer {
  const size = values.reduce((total, value) => total + 4 + (value?.length ?? 0), HEADER_BYTES);
  const bytes = Buffer.allocUnsafe(size);
  bytes.writeInt32BE(1, 0);
  bytes.writeInt32BE(values.includes(null) ? 1 : 0, 4);
  bytes.writeInt32BE(BYTEA_OID, 8);
  bytes.writeInt32BE(values.length, 12);
  bytes.writeInt32BE(1, 16);
  let at = HEADER_BYTES;
  for (const value of values) {
    at = bytes.writeInt32BE(value?.length ?? NULL_LENGTH, at);
    if (value === null) continue;
    bytes.set(value, at);
    at += value.length;
  }
  return bytes;
}
