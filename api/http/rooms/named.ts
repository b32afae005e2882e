import { RefusedInput, refuse } from '../../../core/refusal.ts';

/** Refuses a document whose name is not the one in the path. */
export function named(document: unknown, name: string): void {
  const given = (document as { name?: unknown } | null)?.name;
  if (given !== name)
    throw new RefusedInput([refuse('name', 'name', 'is not the name in the path', 'make them the same')]);
}
