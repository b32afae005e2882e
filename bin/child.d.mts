export interface ChildOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly say?: (line: string) => void;
  /** Told each piece of its output. */
  readonly hear?: (output: string) => void;
}

export function runChild(
  command: string,
  args: readonly string[],
  options?: ChildOptions,
): Promise<{ readonly code: number; readonly tail: string }>;
export function usualCause(tail: string): readonly [problem: string, mend: string] | undefined;
export function lastLines(tail: string, count?: number): string;
