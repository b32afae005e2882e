/** A member of a record that came from outside, where it has one of its own: `constructor` and the like are names as any other. */
export function ownOf<T>(record: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}
