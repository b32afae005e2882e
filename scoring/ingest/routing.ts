import type { NativeRows } from './native-rows.ts';
import type { LogLine } from './read-lines.ts';
import type { Routes } from './shards.ts';
import { MAX_STRAY_HOPS, originOf } from './strays.ts';

/** Tells of the lines of one partition which belong elsewhere. */
export class Routing {
  readonly #partition: number;
  readonly #routes: Routes;

  constructor(partition: number, routes: Routes) {
    this.#partition = partition;
    this.#routes = routes;
  }

  /** Does every line stay where it is? */
  get isPlain(): boolean {
    return this.#routes === undefined;
  }

  /** The partition that serves the line; undefined: this one, or nobody needs to, since it is no report. */
  lineRoute({ reading }: LogLine): number | undefined {
    if (this.#routes === undefined || !reading.ok) return undefined;
    return this.#elsewhere(this.#routes[reading.report.entry.key[0]!]);
  }

  /** As lineRoute, of a row of the kernel. */
  rowRoute(rows: NativeRows, row: number): number | undefined {
    return this.#routes === undefined ? undefined : this.#elsewhere(rows.routeOf(row, this.#routes));
  }

  #elsewhere(route: number | undefined): number | undefined {
    return route === this.#partition ? undefined : route;
  }
}

/** It was sent on so often that it will never arrive. */
export function isSentInCircles({ message }: LogLine): boolean {
  return (originOf(message)?.hops ?? 0) >= MAX_STRAY_HOPS;
}
