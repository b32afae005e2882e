import { RefusedInput } from '../../core/refusal.ts';
import { check, type Static, Type } from '../../core/schema.ts';

/** Names the claim in the environment of the jobs that are booked for it: theirs alone are merged. */
export const CLAIM_ENV = 'RECOMPUTE_CLAIM';

/** What a job that fills a partition's history is given: all that a worker would ask the database, which a job has no login of. */

const Digits = Type.String({ pattern: '^(0|[1-9][0-9]{0,18})$' });
const Ms = Type.Number();
const Place = Type.Object({ offset: Digits, line: Type.Integer({ minimum: 0 }) }, { additionalProperties: false });

const HandedShard = Type.Object(
  {
    /** Names this hand-over; what comes of it is taken only while it holds. */
    claim: Type.String({ maxLength: 64 }),
    rollout: Type.String({ maxLength: 26 }),
    tenant: Type.String({ maxLength: 63 }),
    suite: Type.Object({}, { additionalProperties: true }),
    suiteHash: Type.String({ pattern: '^[0-9a-f]{64}$' }),
    topic: Type.String({ maxLength: 249 }),
    /** Life of the topic, as the archive names it. */
    generation: Type.String({ maxLength: 64 }),
    partition: Type.Integer({ minimum: 0 }),
    keptFrom: Type.Object({ '1m': Ms, '15m': Ms, '1h': Ms }, { additionalProperties: false }),
    onTimeFromMs: Type.Union([Ms, Type.Null()]),
    /** Messages before it are in the panes: they are read only to know them. */
    fromOffset: Digits,
    untilOffset: Digits,
    untilLine: Type.Integer({ minimum: 0 }),
    /** What it has to read, in order, and of each stretch the lines that are in the quarantine: offset, line, bytes. */
    legs: Type.Array(
      Type.Object(
        {
          partition: Type.Integer({ minimum: 0 }),
          partitions: Type.Integer({ minimum: 1 }),
          from: Place,
          to: Place,
          servedSince: Type.Union([Type.Integer({ minimum: 1 }), Type.Null()]),
          asides: Type.Array(Type.Tuple([Digits, Type.Integer({ minimum: 1 }), Type.Number({ minimum: 0 })])),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);
export type HandedShard = Readonly<Static<typeof HandedShard>>;
export type HandedLeg = HandedShard['legs'][number];

/** Throws RefusedInput. */
export function parseHandedShards(value: unknown): readonly HandedShard[] {
  const refusals = check(Type.Array(HandedShard, { minItems: 1 }), value);
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return value as readonly HandedShard[];
}

/** Behind the last message that has lines before the place. */
export function endOffsetOf({ offset, line }: { readonly offset: string | bigint; readonly line: number }): bigint {
  return line > 0 ? BigInt(offset) + 1n : BigInt(offset);
}
