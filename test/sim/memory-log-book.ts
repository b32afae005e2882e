import {
  type KeptLog,
  type LogBook,
  type LogChunk,
  type LogEnd,
  type LogOf,
  NO_LOG,
} from '../../scheduler/apply/log-book.ts';

/** A log book in a map. */
export function memoryLogBook(): LogBook {
  const logs = new Map<string, { kept: KeptLog; chunks: LogChunk[] }>();
  const at = (of: LogOf) => logs.get(`${of.bookingId}/${of.attempt}`) ?? { kept: NO_LOG, chunks: [] };
  const change = (of: LogOf, before: KeptLog, chunks: LogChunk[], ended?: LogEnd): boolean => {
    const { kept } = at(of);
    if (kept.ended !== undefined || kept.bytes !== before.bytes) return false;
    const last = chunks.at(-1);
    const bytes = last === undefined ? 0 : last.fromByte + last.size;
    logs.set(`${of.bookingId}/${of.attempt}`, { kept: { bytes, ended, last }, chunks });
    return true;
  };
  const before = (of: LogOf, byte: number) => at(of).chunks.filter((chunk) => chunk.fromByte < byte);
  return {
    read: async (of) => at(of).kept,
    chunks: async (of, from, limit) =>
      at(of)
        .chunks.filter((chunk) => chunk.fromByte >= from)
        .slice(0, limit),
    append: async (of, kept, chunk) => change(of, kept, [...before(of, chunk.fromByte), chunk]),
    end: async (of, kept, end) => change(of, kept, at(of).chunks, end),
    cut: async (of, kept, from) => change(of, kept, before(of, from)),
  };
}
