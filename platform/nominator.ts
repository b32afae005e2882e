/**
 * What is led: the sequencer of the audit trail, the report consumer, the engine of bookings (planner, saga, retrains), and the sweeps. One
 * process may hold all seats, or several of different roles one each.
 */
export const SEATS = ['audit', 'ingest', 'engine', 'reconciler'] as const;
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
  close(): Promise<void>;
}

/** Somebody who is nominated and has not been heard of for so long is passed over. */
export const LEASE_MS = 10_000;
