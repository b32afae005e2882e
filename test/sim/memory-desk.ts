import { OperatingError } from '../../core/operating-error.ts';
import type { PoolFacts } from '../../pools/pool-facts.ts';
import type { BookingDesk } from '../../scheduler/apply/booking-desk.ts';
import type { Faults, Life } from './life.ts';
import type { MemoryBooks } from './memory-books.ts';
import { memoryLogBook } from './memory-log-book.ts';
import { memoryRunBook } from './memory-run-book.ts';

/** The desk of one run of the engine: each call a transaction over a wire that breaks before the commit, or after it. */
export function memoryDesk(
  books: MemoryBooks,
  epoch: bigint,
  life: Life,
  faults: Faults,
  factsOf: (tenant: string, away: ReadonlyMap<string, string>) => PoolFacts,
): BookingDesk {
  const call = <T>(name: string, effect: () => T, writes: boolean): Promise<T> => {
    const { deskAway } = faults;
    let committed = false;
    return life.call({
      name: `desk.${name}`,
      effect: () => {
        const answer = effect();
        committed = true;
        return answer;
      },
      unanswered: () => {
        // As the driver tells it: a connection that broke, or a commit whose answer is not known.
        if (committed && writes) throw new OperatingError('database', 'look-first', 'committing a transaction');
        throw Object.assign(new Error('Connection terminated unexpectedly'), { code: 'ECONNRESET' });
      },
      faults: { lost: deskAway, replyLost: deskAway, twice: 0, late: 0 },
    });
  };
  const read = <T>(name: string, effect: () => T) => call(name, effect, false);
  const write = <T>(name: string, effect: () => T) => call(name, effect, true);
  return {
    logs: memoryLogBook(),
    runs: memoryRunBook(),
    live: () => read('live', () => books.live()),
    liveStamps: () => read('stamps', () => books.liveStamps()),
    byId: async (ids) => (ids.length === 0 ? [] : read(`byId ${ids.join(' ')}`, () => books.byId(ids))),
    facts: async (tenant, _nowMs, health) => {
      const why = new Map<string, string>();
      for (const { pool } of books.pools) {
        const { away } = await health(tenant, pool);
        if (away !== undefined) why.set(pool, away);
      }
      return read('facts', () => factsOf(tenant, why));
    },
    endedAttempts: (bookingId) => read('endedAttempts', () => books.endedAttempts(bookingId)),
    manifest: (bookingId, attempt) => read('manifest', () => books.manifests.get(`m-${bookingId}-${attempt}`)),
    quorum: (proposalId, nowMs) => read(`quorum ${proposalId}`, () => books.quorum(proposalId, nowMs)),
    // Whoever signs counts, in the simulation, whose policy never changes. No call, and so no draw: seeds stay what they are.
    enoughSigned: async () => undefined,
    unreachable: async () => undefined,
    pools: () => read('pools', () => books.pools),
    openAttempts: (at, keys) => read('openAttempts', () => books.openAttempts(at, keys)),
    commit: (moves) => {
      const what = moves.map(({ booking, event }) => `${booking.bookingId} ${event.type}`).join(', ');
      return write(`commit ${what}`, () => books.commit(epoch, moves));
    },
    note: (booking, state, nowMs) => write('note', () => books.note(epoch, booking, state, nowMs)),
    noteReasons: (changed) => write('noteReasons', () => books.noteReasons(epoch, changed)),
    noteEtas: () => write('noteEtas', () => undefined),
    recordManifest: (booking, _prefix, manifest) =>
      write('recordManifest', () => books.recordManifest(epoch, booking, manifest)),
    expire: (nowMs) => write('expire', () => books.expire(epoch, nowMs)),
    forgetReplies: () => write('forgetReplies', () => undefined),
  };
}
