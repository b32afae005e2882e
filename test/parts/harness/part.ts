/**
 * A real service that tests run against: how it is had on this machine, how it is started on loopback, and what tests are told of it. One part a
 * file in `test/parts/`, named in `all.ts`.
 */
export interface Part<Facts = unknown> {
  readonly name: string;
  /** Started before it. */
  readonly needs: readonly Part[];
  /** Why it cannot be started on this machine, with the command that provides it; undefined where it can. */
  missing(): string | undefined;
  /** Gets it into the cache, where the project can do that by itself; returns at once where it is there. Throws with a reason that a person can mend. */
  provide?(say: Say): Promise<void>;
  /** Starts it; resolves when it answers. What it returns reaches tests as JSON. */
  start(place: Place): Promise<Facts>;
}

/** Progress: a whole line, or, where `passing` and on a terminal, one that the next line replaces. */
export type Say = (line: string, passing?: boolean) => void;

/** Where one instance of a part runs. Whatever is started here ends with the run, however that ends. */
export interface Place {
  /** An empty folder of its own; gone after the run. */
  readonly dir: string;
  /** Of a part that it needs. */
  factsOf<Facts>(part: Part<Facts>): Facts;
  freePort(): Promise<number>;
  /** Starts a process in a group of its own and resolves with its id once `ready` says so. Its output goes to a file in `dir`. */
  run(command: string, args: readonly string[], options: RunOptions): Promise<number>;
}

export interface RunOptions {
  /** Asked every 100 ms for at most `READY_LIMIT_MS`; an error counts as no. */
  readonly ready: () => Promise<boolean>;
  /** Beside PATH, HOME, LANG, TZ and TMPDIR, which are all it inherits. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly signal?: 'SIGTERM' | 'SIGINT';
}
