/** A lock that is held by us, or by another one. */
export type Lock =
  | { readonly owner?: undefined; release(): void }
  | { readonly owner: string; readonly release?: undefined };

export function ownerOf(folder: string, isAlive: (record: string) => boolean): string | undefined;
export function tryLock(folder: string, record: string, isAlive: (record: string) => boolean): Lock;
export function withLock<T>(folder: string, onWait: (pid: string) => void, work: () => T | Promise<T>): Promise<T>;
