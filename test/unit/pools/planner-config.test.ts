import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { nodeLimits } from '../../../ledger/quota/node-limits.ts';
import { quotaNodes } from '../../../pools/account-limits.ts';
import { type Document, parseDocument } from '../../../pools/documents.ts';
import { type Declared, plannerConfig } from '../../../pools/planner-config.ts';
import type { FlavourInput, PlannerConfig } from '../../../pools/planner-input.ts';
import { QuotaTree } from '../../../pools/quota-tree.ts';
import { quotaUse } from '../../../pools/quota-use.ts';
import { parseScenario } from '../../../scheduler/admission/scenario.ts';

const v1 = { apiVersion: 'merit/v1' } as const;
const FLAVOURS = ['od', 'spot'] as const;
const CAPACITY = 100;

/** Groups g0…: each below an earlier one, or a root; divisions in one of them, or alone. */
const tenants = fc
  .record({
    parents: fc.array(fc.nat(3), { maxLength: 4 }),
    divisions: fc.array(
      fc.record({
        group: fc.option(fc.nat(3)),
        weight: fc.option(fc.integer({ min: 0, max: 5_000 })),
        strict: fc.boolean(),
        preemption: fc.option(
          fc.record({
            own: fc.constantFrom('never', 'lower', 'lower-or-newer'),
            reclaim: fc.constantFrom('never', 'lower', 'any'),
            borrow: fc.constantFrom(undefined, null, {}, { maxPriority: 3 }, { maxPriority: null }),
          }),
        ),
        fallback: fc.option(fc.constantFrom({ whenFull: 'preempt' }, { prefer: 'preempt' })),
      }),
      { minLength: 1, maxLength: 4 },
    ),
    quotas: fc.array(
      fc.record({
        owner: fc.nat(7),
        flavour: fc.constantFrom(...FLAVOURS),
        nominal: fc.nat(9),
        borrow: fc.constantFrom(undefined, null, 0, 3),
        lend: fc.constantFrom(undefined, null, 0, 2),
        plain: fc.boolean(),
      }),
      { maxLength: 10 },
    ),
    fair: fc.constantFrom(undefined, {}, { enabled: false }, { strategies: ['initial'] }),
    guards: fc.constantFrom(undefined, {}, { minRunTime: '5m' }, { rate: { burst: 2, perHour: 9 }, grace: '0s' }),
  })
  .map(({ parents, divisions, quotas, fair, guards }) => {
    const groupName = (at: number) => (parents.length === 0 ? undefined : `g${at % parents.length}`);
    const groups = parents.map((parent, i) => ({
      name: `g${i}`,
      ...(i === 0 || parent >= i ? {} : { parent: `g${parent}` }),
    }));
    const members = divisions.map(({ group, weight, strict, preemption, fallback }, i) => {
      const name = group === null ? undefined : groupName(group);
      return {
        name: `d${i}`,
        ...(name === undefined ? {} : { group: name }),
        ...(weight === null ? {} : { weight: weight / 1000 }),
        ...(strict ? { queueing: 'strict' } : {}),
        ...(preemption === null ? {} : { preemption: JSON.parse(JSON.stringify(preemption)) }),
        ...(fallback === null ? {} : { fallback }),
      };
    });
    const names = [...groups, ...members].map(({ name }) => name);
    const byOwner = new Map<string, Map<string, object | number>>();
    for (const { owner, flavour, nominal, borrow, lend, plain } of quotas) {
      const name = names[owner % names.length] ?? '';
      const own = byOwner.get(name) ?? new Map<string, object | number>();
      const value = JSON.parse(JSON.stringify({ nominal, borrow, lend }));
      byOwner.set(name, own.set(flavour, plain ? nominal : value));
    }
    return { groups, members, byOwner, fair, guards };
  });
type Tenant = typeof tenants extends fc.Arbitrary<infer T> ? T : never;

/** The same tenant as a scenario of `merit plan`, with the pool's flavours by the server's names. */
function asScenario({ groups, members, byOwner, fair, guards }: Tenant): PlannerConfig {
  const quota = (name: string) =>
    Object.fromEntries(
      [...(byOwner.get(name) ?? [])].map(([flavour, value]) => [
        `east/${flavour}`,
        { gpu: typeof value === 'number' ? { nominal: value } : value },
      ]),
    );
  return parseScenario({
    ...v1,
    kind: 'Scenario',
    ...(fair === undefined ? {} : { fairSharing: fair }),
    ...(guards === undefined ? {} : { guards }),
    flavours: FLAVOURS.map((name) => ({ name: `east/${name}`, pool: 'east', spot: name === 'spot' })),
    capacity: Object.fromEntries(FLAVOURS.map((name) => [`east/${name}`, { gpu: CAPACITY }])),
    groups: groups.map((one) => ({ ...one, quota: quota(one.name) })),
    divisions: members.map((one) => ({ ...one, quota: quota(one.name) })),
  }).config;
}

/** And as an operator's documents. */
function asDocuments({ groups, members, byOwner, fair, guards }: Tenant): readonly Document[] {
  const quotasOf = (name: string) => Object.fromEntries(byOwner.get(name) ?? []);
  const pool = {
    ...v1,
    kind: 'Pool',
    name: 'east',
    provider: { kind: 'local' },
    flavours: FLAVOURS.map((name) => ({
      name,
      resource: 'gpu',
      capacity: CAPACITY,
      spot: name === 'spot',
      price: { currency: 'USD', perUnitHour: '1.00' },
    })),
    quotas: Object.fromEntries(
      members.filter(({ name }) => byOwner.has(name)).map(({ name }) => [name, quotasOf(name)]),
    ),
  };
  return [
    pool,
    ...groups.map((one) => ({ ...v1, kind: 'Group', ...one, quotas: { east: quotasOf(one.name) } })),
    ...members.map((one) => ({ ...v1, kind: 'Division', ...one })),
    {
      ...v1,
      kind: 'Scheduling',
      ...(fair === undefined ? {} : { fairSharing: fair }),
      ...(guards === undefined ? {} : { guards }),
    },
  ].map((value) => parseDocument(value));
}

const flavours: readonly FlavourInput[] = FLAVOURS.map((name) => ({
  id: `east/${name}`,
  pool: 'east',
  provider: 'local',
  spot: name === 'spot',
  price: null,
  capacity: { gpu: CAPACITY * 1000 },
  away: null,
  cordoned: false,
  open: null,
}));

function declaredOf(documents: readonly Document[]): Declared {
  return {
    pools: documents.filter((one) => one.kind === 'Pool'),
    groups: documents.filter((one) => one.kind === 'Group'),
    divisions: documents.filter((one) => one.kind === 'Division'),
    divisionNames: [],
    scheduling: documents.find((one) => one.kind === 'Scheduling'),
  };
}

const configOf = (documents: readonly Document[]) =>
  plannerConfig(declaredOf(documents), { flavours, budgetsOf: () => [] });

/** What the planner makes of it: of a division its policies, of every node its place and figures in the tree. */
function meaningOf(config: PlannerConfig): object {
  const tree = new QuotaTree(config);
  const figures = [tree.subtree, tree.local, tree.borrow, tree.potential, tree.lendable].map((figure) => [...figure]);
  const policies = config.divisions.map(({ quota: _quota, flavours: order, group, ...rest }) => ({
    ...rest,
    group,
    // Without an order of its own a division tries flavours as its pools have them; alone, it can use only what it has a quota of.
    order: group === null ? [] : [...order].sort(),
  }));
  return { nodes: tree.nodes, cells: tree.cells, figures, policies, fair: config.fairSharing, guards: config.guards };
}

describe('documents', () => {
  test('mean to the planner what the same scenario means', () => {
    fc.assert(
      fc.property(tenants, (tenant) => {
        expect(meaningOf(configOf(asDocuments(tenant)))).toEqual(meaningOf(asScenario(tenant)));
      }),
      { numRuns: 200 },
    );
  });

  test('give the ledger the quotas, local parts and limits that the planner reckons with', () => {
    fc.assert(
      fc.property(tenants, (tenant) => {
        const documents = asDocuments(tenant);
        const divisions = tenant.members.map(({ name }) => name);
        const tree = new QuotaTree(configOf(documents));
        for (const flavour of FLAVOURS) {
          const nodes = quotaNodes(documents, divisions).map(({ kind, name, parent, quotas }) => {
            const own = quotas.find((quota) => quota.flavour === flavour);
            return {
              account: `${kind} ${name}`,
              parent: parent === null ? undefined : `group ${parent}`,
              nominal: own?.nominal ?? 0n,
              borrow: own?.borrow ?? null,
              lend: own?.lend ?? null,
            };
          });
          const cell = tree.cellOf(`east/${flavour}`, 'gpu');
          for (const { account, limit, local } of nodeLimits(nodes)) {
            const node = tree.nodes.find((one) => `${one.isDivision ? 'division' : 'group'} ${one.name}` === account);
            const at = tree.at(node?.index ?? -1, cell);
            const isRoot = (node?.parent ?? -1) < 0;
            const most = (tree.subtree[at] ?? 0) + (isRoot ? 0 : (tree.borrow[at] ?? 0));
            expect([account, limit ?? Number.POSITIVE_INFINITY]).toEqual([
              account,
              Number.isFinite(most) ? BigInt(most) : most,
            ]);
            if (!isRoot) expect([account, local]).toEqual([account, BigInt(tree.local[at] ?? 0)]);
          }
        }
      }),
      { numRuns: 100 },
    );
  });

  test('of a pool alone mean what they always meant: whole quotas, nothing borrowed, nothing shared', () => {
    const [pool] = asDocuments({
      groups: [],
      members: [{ name: 'd0' }],
      byOwner: new Map([['d0', new Map([['od', 4]])]]),
      fair: undefined,
      guards: undefined,
    });
    const config = plannerConfig(
      { ...declaredOf(pool === undefined ? [] : [pool]), divisionNames: ['d0', 'd1'] },
      { flavours, budgetsOf: () => [] },
    );
    expect(config).toMatchObject({ fairSharing: { enabled: false }, groups: [], guards: [], nodes: [] });
    const [d0, d1] = config.divisions;
    expect(d0).toMatchObject({
      group: null,
      flavours: ['east/od', 'east/spot'],
      preemption: { own: 'never', reclaim: 'never', borrow: null },
      queueing: 'best-effort',
    });
    expect([d0, d1].map((one) => one?.quota.map(({ nominalMilli }) => nominalMilli))).toEqual([
      [4000, 0],
      [0, 0],
    ]);
  });
});

describe('what is used of quotas', () => {
  test('of one that borrows is lent by the others in proportion to what they leave idle, to the last part', () => {
    const members = ['d0', 'd1', 'd2'].map((name) => ({ name, group: 'g0' }));
    const byOwner = new Map([
      ['d0', new Map([['od', 94]])],
      ['d1', new Map([['od', 2]])],
      ['d2', new Map([['od', 4]])],
    ]);
    const config = configOf(
      asDocuments({ groups: [{ name: 'g0' }], members, byOwner, fair: undefined, guards: undefined }),
    );
    const uses = quotaUse(config, (division) => (division === 'd0' ? 94_500 : 0)).filter(
      ({ flavour }) => flavour === 'east/od',
    );
    expect(uses.map(({ name, borrowedMilli, lentMilli }) => [name, borrowedMilli, lentMilli])).toEqual([
      ['g0', 0, 0],
      ['d0', 500, 0],
      ['d1', 0, 167],
      ['d2', 0, 333],
    ]);
  });

  const used = fc.tuple(tenants, fc.array(fc.nat(6), { minLength: 8, maxLength: 8 }));

  test('is lent by as many as borrow it: what a group has itself and borrows, and what its children lend, is what they borrow', () => {
    fc.assert(
      fc.property(used, ([tenant, amounts]) => {
        const config = configOf(asDocuments(tenant));
        const tree = new QuotaTree(config);
        const uses = quotaUse(config, (division, flavour) => {
          const at = Number(division.slice(1)) * 2 + FLAVOURS.indexOf(flavour.slice(5) as 'od');
          return (amounts[at] ?? 0) * 1000;
        });
        for (const [cell, { flavour }] of tree.cells.entries()) {
          const of = new Map(
            uses.filter((use) => use.flavour === flavour).map((use) => [`${use.kind} ${use.name}`, use]),
          );
          const useOf = (index: number) =>
            of.get(`${tree.nodes[index]?.isDivision ? 'division' : 'group'} ${tree.nodes[index]?.name}`)!;
          for (const node of tree.nodes) {
            const own = useOf(node.index);
            expect(own.borrowedMilli).toBe(Math.max(0, own.useMilli - own.quotaMilli));
            expect(own.lentMilli).toBeGreaterThanOrEqual(0);
            expect(own.lentMilli).toBeLessThanOrEqual(own.quotaMilli);
            if (own.borrowedMilli > 0) expect(own.lentMilli).toBe(0);
            // Nothing is lent that is used, unless more is used in all than there is.
            const children = node.children.map(useOf);
            const lent = children.reduce((sum, child) => sum + child.lentMilli, 0);
            const borrowed = children.reduce((sum, child) => sum + child.borrowedMilli, 0);
            const contributed = node.children.reduce(
              (sum, child) => sum + tree.subtree[tree.at(child, cell)]! - tree.local[tree.at(child, cell)]!,
              0,
            );
            const ownNominal = own.quotaMilli - contributed;
            expect(lent).toBe(Math.max(0, borrowed + own.lentMilli - own.borrowedMilli - ownNominal));
          }
        }
      }),
      { numRuns: 200 },
    );
  });
});
