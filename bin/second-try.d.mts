/** What a run of tests left, as bin/test-reporter.mjs writes it. */
export interface RunCounts {
  readonly files: Readonly<
    Record<
      string,
      { readonly path: string; readonly passed: number; readonly failures: string[]; readonly skips: string[] }
    >
  >;
  /** Errors that belong to no test. */
  readonly unhandled: number;
}

export function filesToTryAgain(counts: RunCounts): string[];
