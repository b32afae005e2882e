import type { RunBook, RunRecord } from '../../scheduler/apply/run-book.ts';

/** A run book in a map. */
export function memoryRunBook(): RunBook {
  const runs = new Map<string, RunRecord>();
  return {
    read: async ({ bookingId, attempt }) => runs.get(`${bookingId}/${attempt}`),
    save: async ({ bookingId, attempt }, record) => {
      runs.set(`${bookingId}/${attempt}`, record);
    },
  };
}
