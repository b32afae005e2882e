import { OperatingError } from '../../core/operating-error.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Database } from '../../platform/postgres.ts';
import type { WitnessStore } from '../../platform/witness-store.ts';
import { pushWitness, type WitnessLag, witnessLag } from './witness.ts';
import type { WitnessRecord } from './witness-record.ts';

export interface WitnessWatch {
  lag(lag: WitnessLag): void;
  /** By an OperatingError's code, or `other`. */
  failed(code: string, error: unknown): void;
}

export interface WitnessDeps {
  readonly db: Pick<Database, 'asEngine'>;
  readonly store: WitnessStore;
  readonly clock: Clock;
  readonly everyMs: number;
  readonly watch: WitnessWatch;
}

/** Copies the newest checkpoint again and again, until `signal`. A failure is told and tried again with the next one: the trail waits for no witness. */
export async function runWitness(
  { db, store, clock, everyMs, watch }: WitnessDeps,
  signal: AbortSignal,
): Promise<void> {
  let known: WitnessRecord | undefined;
  /** What it had when it was last seen. */
  let seen: WitnessRecord | undefined;
  while (!signal.aborted) {
    try {
      const { record } = await pushWitness(db, store, known);
      known = record;
      seen = record;
    } catch (error) {
      // Another process may have written meanwhile.
      known = undefined;
      watch.failed(error instanceof OperatingError ? error.code : 'other', error);
    }
    await db
      .asEngine((tx) => witnessLag(tx, seen, clock.now()))
      .then((lag) => watch.lag(lag))
      // The database is away: the loop's own try tells it.
      .catch(() => {});
    await clock.sleep(everyMs, signal);
  }
}
