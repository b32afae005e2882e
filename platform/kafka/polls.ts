import type { Fetched } from './client.ts';

/**
 * Fetches that wait, one a topic and broker. A broker answers what comes on one connection in order, so a fetch that waits is never given up: who did not
 * get its reply gets it from the next call.
 */
export class Polls {
  readonly #under = new Map<string, Promise<readonly Fetched[]>>();

  /** The replies of the first broker that has something, or nothing once all have answered. `starts`: by topic and broker. */
  any(starts: ReadonlyMap<string, () => Promise<readonly Fetched[]>>): Promise<readonly Fetched[]> {
    return new Promise((resolve, reject) => {
      let waiting = starts.size;
      if (waiting === 0) resolve([]);
      for (const [broker, start] of starts) {
        this.#poll(broker, start).then((fetched) => {
          waiting--;
          if (fetched.length > 0 || waiting === 0) resolve(fetched);
        }, reject);
      }
    });
  }

  #poll(broker: string, start: () => Promise<readonly Fetched[]>): Promise<readonly Fetched[]> {
    const under = this.#under.get(broker);
    if (under !== undefined) return under;
    const begun = start().finally(() => this.#under.delete(broker));
    this.#under.set(broker, begun);
    return begun;
  }
}
