/** What the host does for the kernel. */

/** Reads the line at `at` by the reference and fills the row in, or notes its fault. */
// @ts-ignore: decorator
@external('env', 'readLine')
export declare function hostReadLine(row: u32, at: usize, length: usize): void;

/** Throws: a limit of the kernel is reached. */
// @ts-ignore: decorator
@external('env', 'reached')
export declare function hostReached(limit: u32): void;

export const LIMIT_MEMORY: u32 = 0;
export const LIMIT_REPORTS: u32 = 1;
export const LIMIT_MODELS: u32 = 2;
export const LIMIT_SUITES: u32 = 3;
export const LIMIT_PANES: u32 = 4;
