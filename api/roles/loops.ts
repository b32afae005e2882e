import type { Nominator, Seat } from '../../platform/nominator.ts';
import { archivedLog } from '../../scoring/archive/archived-log.ts';
import { runRecomputes } from '../../scoring/batch/recompute-worker.ts';
import { BacklogWatch } from '../../scoring/ingest/backlog.ts';
import { runConsumer } from '../../scoring/ingest/run-consumer.ts';
import { runReplays } from '../../scoring/replay/replay-worker.ts';
import type { Access } from './access.ts';
import { runEngine } from './engine.ts';
import type { ServerParts } from './parts.ts';
import { seatsOf } from './seats.ts';
import type { ServerOptions } from './server-options.ts';

/** All that a server runs beside its doors. */
export interface ServerLoops {
  readonly backlog: BacklogWatch;
  /** The seats that this process leads now. */
  readonly leads: () => ReadonlySet<Seat>;
  /** The seats that it cannot stand for, and why. */
  readonly faults: () => ReadonlyMap<Seat, string>;
  /** Lets the steps under way end, for `drainMs` at most. */
  stop(): Promise<void>;
}

/** Starts what the roles of this process say. `accessRun`: what runs beside the doors for those who come in. */
export function startLoops(
  options: ServerOptions,
  parts: ServerParts,
  nominator: Nominator,
  accessRun: Access['run'],
): ServerLoops {
  const { clock, config, log } = options;
  const { db, eventLog, store, keys, metrics, holder } = parts;
  const stopping = new AbortController();
  const { signal } = stopping;
  const led = new Set<Seat>();
  const faults = new Map<Seat, string>();
  const onLead = (seat: Seat, leads: boolean) => {
    if (leads) led.add(seat);
    else led.delete(seat);
    metrics.leading(seat, leads);
  };
  const onFault = (seat: Seat, why: string | undefined) => {
    if (why === undefined) faults.delete(seat);
    else faults.set(seat, why);
  };
  const seats = seatsOf(options, parts);
  const { engineUrl } = options;
  const engine = runEngine({ engineUrl, nominator, holder, clock, log, seats, onLead, onFault }, signal);
  const limits = config.ingest.backlog;
  const backlog = new BacklogWatch({ db, eventLog, clock, limits, metrics: metrics.backlog, log });
  const running = [engine, backlog.run(signal), keys.follow(clock, signal), accessRun(signal)];
  // These need no seat: what they claim is their own, in any number of processes.
  if (config.roles.has('ingest')) running.push(runConsumer(parts.reading, signal));
  if (config.roles.has('recompute')) {
    // What the log holds no more is read from the archive.
    const { read } = archivedLog({ db, store, eventLog, prefer: 'log' });
    const recompute = { db, clock, eventLog: { ...eventLog, read }, log, holder, metrics: metrics.recompute };
    if (config.features.has('suite-rollouts'))
      running.push(runRecomputes(recompute, signal, { maxThreads: config.recomputeThreads }));
    running.push(runReplays({ db, clock, eventLog, log, store, holder, metrics: metrics.replay }, signal));
  }
  const all = Promise.all(running);
  return {
    backlog,
    leads: () => led,
    faults: () => faults,
    stop: async () => {
      stopping.abort();
      // A step that a slow peer holds up longer than this goes on after the next start, as after a crash.
      const ended = new AbortController();
      await Promise.race([all.finally(() => ended.abort()), clock.sleep(config.intervals.drainMs, ended.signal)]);
    },
  };
}
