import { durationMs } from '../core/duration.ts';
import { type Refusal, RefusedInput, refuse } from '../core/refusal.ts';
import { check, type Static, Type } from '../core/schema.ts';
import type { FairSharing, GuardInput } from './planner-input.ts';
import { Slug } from './quota-value.ts';

const strict = { additionalProperties: false } as const;
const Duration = Type.String({ maxLength: 16 });
const Count = Type.Integer({ minimum: 0, maximum: 1_000_000 });

const guard = {
  /** Younger work is no victim. */
  minRunTime: Type.Optional(Duration),
  /** Work with checkpoints whose last is older is no victim until it has made another. */
  maxCheckpointAge: Type.Optional(Duration),
  /** Preemptions: so many at once, and so many an hour. */
  rate: Type.Optional(Type.Object({ burst: Count, perHour: Count }, strict)),
  grace: Type.Optional(Duration),
};
const Guard = Type.Object(guard, strict);
type Guard = Static<typeof Guard>;

/** How a tenant's planner decides, beside what each division says: one document a tenant. */
export const SchedulingFile = Type.Object(
  {
    apiVersion: Type.Literal('merit/v1'),
    kind: Type.Literal('Scheduling'),
    fairSharing: Type.Optional(
      Type.Object(
        {
          enabled: Type.Optional(Type.Boolean()),
          strategies: Type.Optional(
            Type.Array(Type.Enum(['final', 'initial']), { minItems: 1, maxItems: 2, uniqueItems: true }),
          ),
        },
        strict,
      ),
    ),
    /** Of every pool without guards of its own, and of pools by name. */
    guards: Type.Optional(Type.Object({ ...guard, pools: Type.Optional(Type.Record(Slug, Guard)) }, strict)),
  },
  { ...strict, $id: 'https://merit.local/schemas/scheduling.json', title: 'Merit scheduling' },
);
export type SchedulingFile = Static<typeof SchedulingFile>;

/** Longest time that a guard may protect for. */
const MAX_GUARD_MS = 30 * 86_400_000;

/** A checked document; throws RefusedInput with every problem at once. */
export function parseScheduling(value: unknown): SchedulingFile {
  const refusals: Refusal[] = [...check(SchedulingFile, value)];
  if (refusals.length > 0) throw new RefusedInput(refusals);
  const file = value as SchedulingFile;
  const { pools = {}, ...others } = file.guards ?? {};
  refusals.push(...guardRefusals('guards', others));
  for (const [pool, own] of Object.entries(pools)) refusals.push(...guardRefusals(`guards.pools.${pool}`, own));
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return file;
}

function guardRefusals(field: string, { minRunTime, maxCheckpointAge, grace }: Guard): readonly Refusal[] {
  return Object.entries({ minRunTime, maxCheckpointAge, grace }).flatMap(([name, text]) => {
    const ms = text === undefined ? 0 : msOf(text);
    if (ms === undefined) return [refuse('duration', `${field}.${name}`, 'is not a duration', 'write 30s, 5m or 1h')];
    if (ms > MAX_GUARD_MS) return [refuse('range', `${field}.${name}`, 'must be at most 30d', 'write less')];
    return [];
  });
}

function msOf(text: string): number | undefined {
  return text === '0' || text === '0s' ? 0 : durationMs(text);
}

/** Off where there is no document, or none of it there; on where it is there and does not say otherwise. */
export function fairSharingOf(file: SchedulingFile | undefined): FairSharing {
  const { fairSharing } = file ?? {};
  return {
    enabled: fairSharing !== undefined && fairSharing.enabled !== false,
    strategies: fairSharing?.strategies ?? ['final', 'initial'],
  };
}

/** No guards: nothing protects what runs. */
export function guardsOf(file: SchedulingFile | undefined): readonly GuardInput[] {
  if (file?.guards === undefined) return [];
  const { pools = {}, ...others } = file.guards;
  return [
    guardOf(null, others),
    ...Object.entries(pools)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([pool, own]) => guardOf(pool, own)),
  ];
}

function guardOf(pool: string | null, { minRunTime, maxCheckpointAge, rate, grace }: Guard): GuardInput {
  return {
    pool,
    minRunMs: minRunTime === undefined ? 0 : (msOf(minRunTime) ?? 0),
    maxCheckpointAgeMs: maxCheckpointAge === undefined ? null : (msOf(maxCheckpointAge) ?? null),
    rate: rate ?? null,
    graceMs: grace === undefined ? 0 : (msOf(grace) ?? 0),
  };
}
