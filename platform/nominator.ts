/**
 * What is led: the sequencer of the audit trail, the archive of the report log, the engine of bookings (planner, saga, retrains), and the
 * sweeps. One process may hold all seats, or several of different roles one each. Reports are read by any number of processes at once
 * (scoring/ingest/ownership.sql.ts).
 */
export const SEATS = ['audit', 'archive', 'engine', 'reconciler'] as const;
export type Seat = (typeof SEATS)[number];

export interface Nomination {
  /** Aborts when it is lost, at the latest LEASE_MS after it could last be renewed. */
  readonly lost: AbortSignal;
  resign(): Promise<void>;
}

/**
 * Says who may lead a seat; it never decides what a leader may write, which the epoch in Postgres does. Two nominated at once are a
 * nuisance, not a danger.
 */
export interface Nominator {
  /** One try: undefined where somebody else is nominated, or whoever nominates is away. Throws what waiting does not mend. */
  nominate(seat: Seat, holder: string): Promise<Nomination | undefined>;
  /** Why whoever nominates could not be asked the last time; undefined: it answered. */
  away(): string | undefined;
  close(): Promise<void>;
}

/** Somebody who is nominated and has not been heard of for so long is passed over. */
export const LEASE_MS = 10_000;
