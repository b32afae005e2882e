/**
 * Values as one array in Postgres' binary wire format: pg sends a Buffer as it is. As text each byte of a bytea is two hexadecimal digits, and
 * each element is searched for what has to be escaped, here and there: of what a group of bookings costs that was a third on this side.
 * Source: src/backend/utils/adt (array_recv, int8recv, timestamptz_recv).
 */

const OID = { bytea: 17, int8: 20, text: 25, timestamptz: 1184 } as const;
/** Dimensions, null flag, element type, length and lower bound. */
const HEADER_BYTES = 20;
const NULL_LENGTH = -1;
/** 2000-01-01, from which Postgres counts microseconds. */
const EPOCH_MS = 946_684_800_000;

export function byteaArray(values: readonly (Uint8Array | null)[]): Buffer {
  const size = values.reduce((total, value) => total + 4 + (value?.length ?? 0), HEADER_BYTES);
  const bytes = begin(OID.bytea, values, size);
  let at = HEADER_BYTES;
  for (const value of values) {
    at = bytes.writeInt32BE(value?.length ?? NULL_LENGTH, at);
    if (value === null) continue;
    bytes.set(value, at);
    at += value.length;
  }
  return bytes;
}

/** No text has a NUL, which Postgres refuses. */
export function textArray(values: readonly (string | null)[]): Buffer {
  // Of UTF-8 at most three bytes a code unit; what was too much is not sent.
  const size = values.reduce((total, value) => total + 4 + 3 * (value?.length ?? 0), HEADER_BYTES);
  const bytes = begin(OID.text, values, size);
  let at = HEADER_BYTES;
  for (const value of values) {
    const written = value === null ? 0 : bytes.write(value, at + 4);
    bytes.writeInt32BE(value === null ? NULL_LENGTH : written, at);
    at += 4 + written;
  }
  return bytes.subarray(0, at);
}

export function int8Array(values: readonly (bigint | number | null)[]): Buffer {
  return wordsOf(OID.int8, values);
}

/** Parts of a millisecond are left out, as Date does. */
export function timestampArray(valuesMs: readonly (number | null)[]): Buffer {
  return wordsOf(
    OID.timestamptz,
    valuesMs.map((ms) => {
      if (ms === null) return null;
      const us = (Math.trunc(ms) - EPOCH_MS) * 1_000;
      return Number.isSafeInteger(us) ? us : BigInt(Math.trunc(ms) - EPOCH_MS) * 1_000n;
    }),
  );
}

const WORD = 2 ** 32;

/** A BigInt for each number would be garbage. */
function wordsOf(elementOid: number, values: readonly (bigint | number | null)[]): Buffer {
  const bytes = begin(elementOid, values, HEADER_BYTES + 12 * values.length);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = HEADER_BYTES;
  for (const value of values) {
    view.setInt32(at, value === null ? NULL_LENGTH : 8);
    at += 4;
    if (value === null) continue;
    if (typeof value === 'number' && Number.isSafeInteger(value)) {
      const high = Math.floor(value / WORD);
      view.setInt32(at, high);
      view.setUint32(at + 4, value - high * WORD);
    } else bytes.writeBigInt64BE(BigInt(value), at);
    at += 8;
  }
  return bytes.subarray(0, at);
}

function begin(elementOid: number, values: readonly unknown[], size: number): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  bytes.writeInt32BE(1, 0);
  bytes.writeInt32BE(values.includes(null) ? 1 : 0, 4);
  bytes.writeInt32BE(elementOid, 8);
  bytes.writeInt32BE(values.length, 12);
  bytes.writeInt32BE(1, 16);
  return bytes;
}
