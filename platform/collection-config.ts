import { type Static, Type } from '../core/schema.ts';
import type { Reader } from './config-file.ts';
import { ruleDuration } from './config-rules.ts';

/** When stored objects that nothing names are collected without being asked to. */
export interface CollectionConfig {
  /** Counted from midnight UTC, so that a restart neither repeats a collection nor puts it off; null: only by hand. */
  readonly everyMs: number | null;
  /** Younger objects are left alone. */
  readonly graceMs: number;
}

const Text = Type.String({ minLength: 1, maxLength: 64 });

/** `collection` of merit.yaml. */
export const CollectionFile = Type.Object(
  { every: Type.Optional(Text), grace: Type.Optional(Text) },
  { additionalProperties: false },
);

const HOUR_MS = 3_600_000;
const MAX_MS = 36_500 * 24 * HOUR_MS;
const NEVER = 'never';

export function collectionConfig(file: Static<typeof CollectionFile> = {}, reader: Reader): CollectionConfig {
  const read = (name: 'every' | 'grace', text: string) =>
    reader.take(ruleDuration(`collection.${name}`, text, HOUR_MS, MAX_MS), HOUR_MS);
  const { every = NEVER, grace = '7d' } = file;
  return { everyMs: every === NEVER ? null : read('every', every), graceMs: read('grace', grace) };
}
