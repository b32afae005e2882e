import { type Static, Type } from '../core/schema.ts';
import type { Reader } from './config-file.ts';
import { ruleDuration } from './config-rules.ts';

/** How the report log is archived, and how long it and the archive are kept. */
export interface ArchiveConfig {
  /** A message that was consumed is archived at the latest this long after it was appended. */
  readonly segmentAgeMs: number;
  /** Of the archive; null: for ever. */
  readonly keepMs: number | null;
  /** Of messages in the embedded log that are archived; null: for ever. */
  readonly logKeepMs: number | null;
}

const Text = Type.String({ minLength: 1, maxLength: 64 });

/** `archive` of merit.yaml. */
export const ArchiveFile = Type.Object(
  { segmentAge: Type.Optional(Text), keep: Type.Optional(Text), logKeep: Type.Optional(Text) },
  { additionalProperties: false },
);

const SECOND_MS = 1_000;
const DAY_MS = 86_400_000;
/** As long as windows and late reports reach back, and a day: nothing that a score can still hang on goes. */
const MIN_KEEP_MS = 15 * DAY_MS;
const MAX_KEEP_MS = 36_500 * DAY_MS;
const FOR_EVER = 'forever';

export function archiveConfig(file: Static<typeof ArchiveFile> = {}, reader: Reader): ArchiveConfig {
  const read = (name: 'segmentAge' | 'keep' | 'logKeep', initial: string, minMs: number, maxMs: number) => {
    const text = file[name] ?? initial;
    return text === FOR_EVER ? null : reader.take(ruleDuration(`archive.${name}`, text, minMs, maxMs), minMs);
  };
  const segmentAgeMs = read('segmentAge', '5m', SECOND_MS, DAY_MS);
  if (segmentAgeMs === null)
    reader.refuse(
      'duration',
      'archive.segmentAge',
      'is no age at which anything is archived',
      'write 5m, 1h or the like',
    );
  return {
    segmentAgeMs: segmentAgeMs ?? DAY_MS,
    keepMs: read('keep', FOR_EVER, MIN_KEEP_MS, MAX_KEEP_MS),
    logKeepMs: read('logKeep', '7d', SECOND_MS, MAX_KEEP_MS),
  };
}
