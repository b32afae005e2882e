import { OperatingError } from '../../core/operating-error.ts';
import type { Clock } from '../../platform/clock.ts';
import { lead } from '../../platform/leader.ts';
import { listen } from '../../platform/listener.ts';
import type { Nominator, Seat } from '../../platform/nominator.ts';
import type { DatabaseUrl } from '../../platform/pg-login.ts';
import { type Database, StaleLeader } from '../../platform/postgres.ts';
import { postgresDesk } from '../../scheduler/apply/booking-desk.sql.ts';
import type { Log, SagaContext } from '../../scheduler/apply/context.ts';
import { Allocator } from '../../scheduler/apply/engine.ts';
import { BOOKINGS_CHANNEL } from '../../scheduler/apply/wake.ts';
import { runReconciler } from '../../scheduler/reconcile/sweep.ts';

/** After a leadership that ended badly, before the next try. */
const REST_MS = 1_000;

/** After a nomination that waiting does not mend (a password, a right that was taken away): a person has to, and is told each time. */
const REFUSED_REST_MS = 10_000;

/** One of the loops that only the leader runs. It ends by `signal`, or throws. */
export interface LeaderLoop {
  readonly name: string;
  run(epoch: bigint, signal: AbortSignal): Promise<void>;
}

export interface EngineOptions {
  readonly engineUrl: DatabaseUrl;
  readonly nominator: Nominator;
  /** Names this process in the epoch's row. */
  readonly holder: string;
  readonly clock: Clock;
  readonly log: Log;
  /** What this process runs where it leads; a seat that is absent is left to others. */
  readonly seats: ReadonlyMap<Seat, readonly LeaderLoop[]>;
  /** Told each time this process starts or stops to lead a seat. */
  readonly onLead: (seat: Seat, leads: boolean) => void;
  /** Told when this process comes to be unable to stand for a seat, and why; undefined: it can again. */
  readonly onFault: (seat: Seat, why: string | undefined) => void;
}

/** Stands for each of its seats, until `signal`: a seat's loops run together under one epoch. */
export async function runEngine(options: EngineOptions, signal: AbortSignal): Promise<void> {
  await Promise.all(Array.from(options.seats, ([seat, loops]) => runSeat(options, seat, loops, signal)));
}

/** Leads whenever it is nominated: when one of the seat's loops ends, all end, and it is nominated anew. */
async function runSeat(
  options: EngineOptions,
  seat: Seat,
  loops: readonly LeaderLoop[],
  signal: AbortSignal,
): Promise<void> {
  const { clock, log, onLead, onFault } = options;
  const nominator = told(options, seat);
  while (!signal.aborted) {
    const leadership = await lead({ ...options, nominator }, seat, signal).catch((error: unknown) => {
      const mend = error instanceof OperatingError ? error.mend : undefined;
      log.error({ seat, error: String(error), mend }, 'cannot stand for the seat; it is tried again');
      onFault(seat, mend === undefined ? String(error) : `${String(error)}: ${mend}`);
    });
    if (leadership === undefined) {
      if (!signal.aborted) await clock.sleep(REFUSED_REST_MS, signal);
      continue;
    }
    const { epoch } = leadership;
    log.info({ seat, epoch: String(epoch) }, 'leading');
    onLead(seat, true);
    const stop = new AbortController();
    const until = AbortSignal.any([signal, leadership.lost, stop.signal]);
    await Promise.all(
      loops.map(async (loop) => {
        try {
          await loop.run(epoch, until);
        } catch (error) {
          if (error instanceof StaleLeader)
            log.warn({ loop: loop.name, epoch: String(epoch) }, 'another process leads');
          else
            log.error(
              { loop: loop.name, error: String(error), stack: error instanceof Error ? error.stack : undefined },
              'a loop of the engine ended; it is started again',
            );
        } finally {
          stop.abort();
        }
      }),
    );
    onLead(seat, false);
    await leadership.resign().catch(() => {});
    if (!signal.aborted) await clock.sleep(REST_MS, signal);
  }
}

/** The nominator, which is told of where it cannot be asked, once, and once when it can be again. */
function told({ nominator, log, onFault }: EngineOptions, seat: Seat): Nominator {
  let before: string | undefined;
  return {
    ...nominator,
    nominate: async (of, holder) => {
      const nomination = await nominator.nominate(of, holder);
      const why = nominator.away();
      if (why !== undefined && before === undefined)
        log.warn({ seat, error: why }, 'whoever nominates is away; it is asked again');
      else if (why === undefined && before !== undefined) log.info({ seat }, 'whoever nominates answers again');
      before = why;
      onFault(seat, why);
      return nomination;
    },
  };
}

/** All that the saga needs but its leadership. */
export type SagaParts = Omit<SagaContext, 'desk'> & { readonly db: Database };

/** Planning and the saga. */
export function allocatorLoop(context: SagaParts, engineUrl: DatabaseUrl): LeaderLoop {
  return {
    name: 'allocator',
    run: async (epoch, signal) => {
      const allocator = new Allocator({ ...context, desk: postgresDesk(context.db, epoch) });
      const ears = listen(engineUrl, BOOKINGS_CHANNEL, context.clock, signal, (bookingId) => allocator.wake(bookingId));
      await allocator.run(signal);
      await ears;
    },
  };
}

/** The sweeps. */
export function reconcilerLoop(context: SagaParts): LeaderLoop {
  return {
    name: 'reconciler',
    run: (epoch, signal) => runReconciler({ ...context, desk: postgresDesk(context.db, epoch) }, signal),
  };
}
