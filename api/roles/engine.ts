import type { Clock } from '../../platform/clock.ts';
import { lead } from '../../platform/leader.ts';
import { listen } from '../../platform/listener.ts';
import { StaleLeader } from '../../platform/postgres.ts';
import type { Log, SagaContext } from '../../scheduler/apply/context.ts';
import { Allocator } from '../../scheduler/apply/engine.ts';
import { BOOKINGS_CHANNEL } from '../../scheduler/apply/wake.ts';
import { runReconciler } from '../../scheduler/reconcile/sweep.ts';

/** After a leadership that ended badly, before the next try. */
const REST_MS = 1_000;

/** One of the loops that only the leader runs. It ends by `signal`, or throws. */
export interface LeaderLoop {
  readonly name: string;
  run(epoch: bigint, signal: AbortSignal): Promise<void>;
}

export interface EngineOptions {
  readonly engineUrl: string;
  /** Names this process in the epoch's row. */
  readonly holder: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly loops: readonly LeaderLoop[];
  /** Told each time this process starts or stops to lead. */
  readonly onLead: (epoch: bigint | undefined) => void;
}

/** Leads whenever it is nominated, until `signal`: all loops run together under one epoch; when one ends, all end, and it is nominated anew. */
export async function runEngine(options: EngineOptions, signal: AbortSignal): Promise<void> {
  const { engineUrl, holder, clock, log, loops, onLead } = options;
  while (!signal.aborted) {
    const leadership = await lead(engineUrl, holder, clock, signal);
    if (leadership === undefined) return;
    const { epoch } = leadership;
    log.info({ epoch: String(epoch) }, 'leading');
    onLead(epoch);
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
    onLead(undefined);
    await leadership.resign().catch(() => {});
    if (!signal.aborted) await clock.sleep(REST_MS, signal);
  }
}

/** Planning and the saga. */
export function allocatorLoop(context: Omit<SagaContext, 'epoch'>, engineUrl: string): LeaderLoop {
  return {
    name: 'allocator',
    run: async (epoch, signal) => {
      const allocator = new Allocator({ ...context, epoch });
      const ears = listen(engineUrl, BOOKINGS_CHANNEL, context.clock, signal, () => allocator.wake());
      await allocator.run(signal);
      await ears;
    },
  };
}

/** The sweeps. */
export function reconcilerLoop(context: Omit<SagaContext, 'epoch'>): LeaderLoop {
  return { name: 'reconciler', run: (epoch, signal) => runReconciler({ ...context, epoch }, signal) };
}
