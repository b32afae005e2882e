import type { Io } from './io.ts';

/** What a command's module gets; its default export takes this and resolves with the exit code. */
export interface Invocation {
  /** Positional arguments in order; those of a variadic one, flat at the end. */
  readonly args: readonly string[];
  /** Flags by their camelCase names, values already checked and typed as program.ts declares. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly io: Io;
  /** Aborts at SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
}

export type CommandModule = { readonly default: (invocation: Invocation) => Promise<number> };
