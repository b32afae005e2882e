import { type Static, Type } from '../../core/schema.ts';
import { POLICIES, Priority } from '../../pools/tree-files.ts';

/** A scenario as a file: everything one planner cycle looks at. See docs/scheduling.md, Scenario. */

const strict = { additionalProperties: false } as const;
const Name = Type.String({ minLength: 1, maxLength: 128, pattern: '^[^\\u0000-\\u001f\\u007f]*$' });
const Quantity = Type.Number({ minimum: 0, maximum: 1_000_000_000 });
const Instant = Type.String({ maxLength: 64 });
const Duration = Type.String({ maxLength: 16 });
const Replicas = Type.Integer({ minimum: 1, maximum: 1_000_000 });
const Amounts = Type.Record(Name, Quantity, { minProperties: 1, maxProperties: 16 });
const Money = Type.Union([Type.String({ maxLength: 24 }), Type.Number({ minimum: 0 })]);
const Limit = Type.Optional(Type.Union([Quantity, Type.Null()]));
const Quota = Type.Record(
  Name,
  Type.Record(Name, Type.Object({ nominal: Quantity, borrow: Limit, lend: Limit }, strict)),
);
const Window = Type.Object({ from: Instant, until: Instant }, strict);

const Guard = {
  minRunTime: Type.Optional(Duration),
  maxCheckpointAge: Type.Optional(Duration),
  rate: Type.Optional(
    Type.Object(
      {
        burst: Type.Integer({ minimum: 0, maximum: 1_000_000 }),
        perHour: Type.Integer({ minimum: 0, maximum: 1_000_000 }),
      },
      strict,
    ),
  ),
  grace: Type.Optional(Duration),
};

const Division = Type.Object(
  {
    name: Name,
    group: Type.Optional(Type.Union([Name, Type.Null()])),
    weight: Type.Optional(Quantity),
    flavours: Type.Optional(Type.Array(Name, { maxItems: 256 })),
    quota: Type.Optional(Quota),
    ...POLICIES,
    perUser: Type.Optional(
      Type.Array(Type.Object({ flavour: Type.Optional(Name), resource: Name, limit: Quantity }, strict), {
        maxItems: 64,
      }),
    ),
  },
  strict,
);

const asked = {
  id: Name,
  division: Name,
  resources: Type.Optional(Amounts),
  replicas: Type.Optional(Replicas),
  minReplicas: Type.Optional(Replicas),
  priority: Type.Optional(Priority),
  createdAt: Type.Optional(Instant),
  user: Type.Optional(Name),
};

const Running = Type.Object(
  {
    ...asked,
    on: Type.Optional(Name),
    podSets: Type.Optional(
      Type.Array(Type.Object({ count: Replicas, resources: Amounts, on: Type.Optional(Name) }, strict), {
        minItems: 1,
        maxItems: 16,
      }),
    ),
    node: Type.Optional(Name),
    startedAt: Type.Optional(Instant),
    leaseEndsAt: Type.Optional(Instant),
    checkpointedAt: Type.Optional(Instant),
    draining: Type.Optional(
      Type.Object({ for: Type.Optional(Type.Union([Name, Type.Null()])), until: Type.Optional(Instant) }, strict),
    ),
  },
  strict,
);

const Pending = Type.Object(
  {
    ...asked,
    podSets: Type.Optional(
      Type.Array(Type.Object({ count: Replicas, resources: Amounts }, strict), { minItems: 1, maxItems: 16 }),
    ),
    flavours: Type.Optional(Type.Array(Name, { minItems: 1, maxItems: 256 })),
    notBefore: Type.Optional(Instant),
    lease: Type.Optional(Duration),
    maxCost: Type.Optional(Money),
    prefer: Type.Optional(Type.Enum(['order', 'price'])),
    window: Type.Optional(Type.Array(Window, { minItems: 1, maxItems: 1000 })),
  },
  strict,
);

const Flavour = Type.Object(
  {
    name: Name,
    pool: Type.Optional(Name),
    provider: Type.Optional(Name),
    spot: Type.Optional(Type.Boolean()),
    /** Of one unit and hour, of every resource of the flavour; an object names the currency and the resource. */
    price: Type.Optional(
      Type.Union([
        Type.Number({ minimum: 0 }),
        Type.String({ maxLength: 24 }),
        Type.Object(
          {
            currency: Type.String({ pattern: '^[A-Z]{3}$' }),
            perUnitHour: Type.Union([Type.String({ maxLength: 24 }), Type.Number({ minimum: 0 })]),
            resource: Type.Optional(Name),
          },
          strict,
        ),
      ]),
    ),
    away: Type.Optional(Type.String({ maxLength: 512 })),
    cordoned: Type.Optional(Type.Boolean()),
    open: Type.Optional(Type.Array(Window, { minItems: 1, maxItems: 1000 })),
  },
  strict,
);

const Node = Type.Object(
  { name: Name, flavour: Name, cordoned: Type.Optional(Type.Boolean()) },
  // Whatever else it says is a resource.
  { additionalProperties: Quantity },
);

export const ScenarioFile = Type.Object(
  {
    apiVersion: Type.Literal('merit/v1'),
    kind: Type.Literal('Scenario'),
    now: Type.Optional(Instant),
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
    overcommit: Type.Optional(Type.Boolean()),
    flavours: Type.Optional(Type.Array(Flavour, { maxItems: 256 })),
    capacity: Type.Optional(Type.Record(Name, Amounts)),
    nodes: Type.Optional(Type.Array(Node, { maxItems: 20_000 })),
    groups: Type.Optional(
      Type.Array(
        Type.Object(
          {
            name: Name,
            parent: Type.Optional(Type.Union([Name, Type.Null()])),
            weight: Type.Optional(Quantity),
            quota: Type.Optional(Quota),
          },
          strict,
        ),
        { maxItems: 10_000 },
      ),
    ),
    divisions: Type.Optional(Type.Array(Division, { maxItems: 10_000 })),
    budgets: Type.Optional(
      Type.Array(
        Type.Object(
          {
            division: Name,
            currency: Type.Optional(Type.String({ pattern: '^[A-Z]{3}$' })),
            limit: Money,
            spent: Type.Optional(Money),
          },
          strict,
        ),
        { maxItems: 10_000 },
      ),
    ),
    reservations: Type.Optional(
      Type.Array(
        Type.Object(
          {
            id: Name,
            division: Name,
            flavour: Name,
            resources: Amounts,
            from: Instant,
            until: Instant,
          },
          strict,
        ),
        { maxItems: 10_000 },
      ),
    ),
    guards: Type.Optional(
      Type.Object({ ...Guard, pools: Type.Optional(Type.Record(Name, Type.Object(Guard, strict))) }, strict),
    ),
    running: Type.Optional(Type.Array(Running, { maxItems: 100_000 })),
    pending: Type.Optional(Type.Array(Pending, { maxItems: 100_000 })),
  },
  { ...strict, title: 'Merit scenario' },
);
export type ScenarioFile = Static<typeof ScenarioFile>;
