import { type Refusal, RefusedInput, refuse } from '../core/refusal.ts';
import { check, type Static, type TSchema, Type } from '../core/schema.ts';
import { QuotaValue, Slug, Units } from './quota-value.ts';

/** Groups, divisions and priority classes as files. Defaults are those of a Scenario (docs/scheduling.md). */

const strict = { additionalProperties: false } as const;
const Weight = Type.Number({
  minimum: 0,
  maximum: 1_000_000,
  description: 'at most 3 decimals; 0: whatever it borrows is the first to be taken back',
});
/** A flavour by its pool: gpus-us-east/h100. */
export const FlavourId = Type.String({
  maxLength: 127,
  pattern: '^[a-z0-9]([a-z0-9-]*[a-z0-9])?/[a-z0-9]([a-z0-9-]*[a-z0-9])?$',
});
export const Priority = Type.Integer({ minimum: -1_000_000_000, maximum: 1_000_000_000 });

/** How a division preempts, falls back and queues: the same in its document and in a scenario. */
export const POLICIES = {
  preemption: Type.Optional(
    Type.Object(
      {
        own: Type.Optional(Type.Enum(['never', 'lower', 'lower-or-newer'])),
        reclaim: Type.Optional(Type.Enum(['never', 'lower', 'any'])),
        borrow: Type.Optional(
          Type.Union([
            Type.Null(),
            Type.Object({ maxPriority: Type.Optional(Type.Union([Priority, Type.Null()])) }, strict),
          ]),
        ),
      },
      strict,
    ),
  ),
  fallback: Type.Optional(
    Type.Object(
      {
        whenFull: Type.Optional(Type.Enum(['next', 'preempt'])),
        prefer: Type.Optional(Type.Enum(['borrow', 'preempt'])),
        ties: Type.Optional(
          Type.Enum(['order', 'price', 'packing'], {
            description:
              'between options that are as good: the order of the flavours, the cheaper one, or the one whose machines are left least fragmented',
          }),
        ),
      },
      strict,
    ),
  ),
  queueing: Type.Optional(Type.Enum(['best-effort', 'strict'])),
};

export const GroupFile = Type.Object(
  {
    apiVersion: Type.Literal('merit/v1'),
    kind: Type.Literal('Group'),
    name: Slug,
    /** null, or absent: a root of its own; nothing flows between roots. */
    parent: Type.Optional(Type.Union([Slug, Type.Null()])),
    weight: Type.Optional(Weight),
    /** pool → flavour → quota. */
    quotas: Type.Optional(Type.Record(Slug, Type.Record(Slug, QuotaValue))),
  },
  { ...strict, $id: 'https://merit.local/schemas/group.json', title: 'Merit group' },
);
export type GroupFile = Static<typeof GroupFile>;

export const DivisionFile = Type.Object(
  {
    apiVersion: Type.Literal('merit/v1'),
    kind: Type.Literal('Division'),
    name: Slug,
    /** null, or absent: it neither borrows nor lends. */
    group: Type.Optional(Type.Union([Slug, Type.Null()])),
    weight: Type.Optional(Weight),
    /** In the order to try. Absent: those it has a quota of, by pool; all, where it has none or no group. */
    flavours: Type.Optional(Type.Array(FlavourId, { minItems: 1, maxItems: 256 })),
    ...POLICIES,
    /** What one user may use at a time, of one flavour or of all together. */
    userLimits: Type.Optional(
      Type.Array(
        Type.Object({ flavour: Type.Optional(FlavourId), resource: Type.Enum(['gpu', 'cpu']), limit: Units }, strict),
        { maxItems: 64 },
      ),
    ),
  },
  { ...strict, $id: 'https://merit.local/schemas/division.json', title: 'Merit division' },
);
export type DivisionFile = Static<typeof DivisionFile>;

export const PriorityClassFile = Type.Object(
  {
    apiVersion: Type.Literal('merit/v1'),
    kind: Type.Literal('PriorityClass'),
    name: Slug,
    value: Priority,
  },
  { ...strict, $id: 'https://merit.local/schemas/priority-class.json', title: 'Merit priority class' },
);
export type PriorityClassFile = Static<typeof PriorityClassFile>;

/** A checked group; throws RefusedInput with every problem at once. */
export function parseGroup(value: unknown): GroupFile {
  const file = shaped<GroupFile>(GroupFile, value);
  throwAny(weightRefusals(file.weight));
  return file;
}

/** A checked division; throws RefusedInput with every problem at once. */
export function parseDivision(value: unknown): DivisionFile {
  const file = shaped<DivisionFile>(DivisionFile, value);
  const refusals = [...weightRefusals(file.weight)];
  const seen = new Set<string>();
  for (const [i, flavour] of (file.flavours ?? []).entries()) {
    if (seen.has(flavour)) refusals.push(refuse('duplicate', `flavours.${i}`, 'names a flavour twice', 'remove one'));
    seen.add(flavour);
  }
  const limits = new Set<string>();
  for (const [i, { flavour, resource }] of (file.userLimits ?? []).entries()) {
    const of = `${flavour ?? ''} ${resource}`;
    if (limits.has(of)) refusals.push(refuse('duplicate', `userLimits.${i}`, 'limits the same twice', 'remove one'));
    limits.add(of);
  }
  throwAny(refusals);
  return file;
}

/** A checked priority class; throws RefusedInput with every problem at once. */
export function parsePriorityClass(value: unknown): PriorityClassFile {
  return shaped<PriorityClassFile>(PriorityClassFile, value);
}

/** 1.5 → 1500. It was checked. */
export function weightMilli(weight: number | undefined): number {
  return weight === undefined ? 1000 : Math.round(weight * 1000);
}

function shaped<T>(schema: TSchema, value: unknown): T {
  throwAny(check(schema, value));
  return value as T;
}

function weightRefusals(weight: number | undefined): readonly Refusal[] {
  if (weight === undefined || /^[0-9]+(\.[0-9]{1,3})?$/.test(String(weight))) return [];
  return [refuse('scale', 'weight', 'has more than 3 decimals', 'round it to 3 decimals')];
}

function throwAny(refusals: readonly Refusal[]): void {
  if (refusals.length > 0) throw new RefusedInput(refusals);
}
