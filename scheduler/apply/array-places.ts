import type { Booking } from './booking-store.ts';

/**
 * The places of job arrays: of an array's tasks as many may be offered to the planner, or run, as its `maxParallel` says; the others are behind, in the
 * order in which they came, until one gives its place back.
 */
export class ArrayPlaces {
  readonly #arrays = new Map<string, { readonly under: Set<string>; readonly behind: Set<string> }>();

}
