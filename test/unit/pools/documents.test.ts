import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { contentHash } from '../../../core/canonical.ts';
import { RefusedInput } from '../../../core/refusal.ts';
import { differences } from '../../../pools/differences.ts';
import { documentRefusals, MAX_GROUP_DEPTH } from '../../../pools/document-checks.ts';
import { type Document, documentKey, inOrder, parseDocument, parseDocuments } from '../../../pools/documents.ts';
import { periodStartMs } from '../../../pools/period-start.ts';

const v1 = { apiVersion: 'merit/v1' } as const;
const group = (name: string, over: object = {}) => ({ ...v1, kind: 'Group', name, ...over });
const division = (name: string, over: object = {}) => ({ ...v1, kind: 'Division', name, ...over });
const pool = (over: object = {}) => ({
  ...v1,
  kind: 'Pool',
  name: 'east',
  provider: { kind: 'ray' },
  flavours: [{ name: 'h100', resource: 'gpu', capacity: 8, price: { currency: 'USD', perUnitHour: '2.50' } }],
  quotas: { vision: { h100: 4 } },
  ...over,
});

function refused(read: () => unknown): string[] {
  try {
    read();
  } catch (error) {
    if (error instanceof RefusedInput) return error.refusals.map(({ field, code }) => `${field} ${code}`);
    throw error;
  }
  return [];
}

const wrong = (...values: object[]) =>
  documentRefusals(values.map((value) => parseDocument(value))).map(
    ({ key, refusal }) => `${key} ${refusal.field} ${refusal.code}`,
  );

describe('a document', () => {
  test.each([
    ['no kind', { ...v1, name: 'x' }, ['kind required']],
    ['a kind of its own', { ...v1, kind: 'Queue' }, ['kind kind']],
    ['nothing', null, ['kind required']],
    ['a weight of four decimals', group('a', { weight: 1.0001 }), ['weight scale']],
    ['a negative weight', group('a', { weight: -1 }), ['weight range']],
    ['a name that YAML reads as no text (G07)', group('a', { name: false }), ['name type']],
    ['a field of its own', division('a', { size: 1 }), ['size unknown_field']],
    ['one flavour twice', division('a', { flavours: ['p/f', 'p/f'] }), ['flavours.1 duplicate']],
    ['a flavour without its pool', division('a', { flavours: ['h100'] }), ['flavours.0 charset']],
    ['a policy that is none', division('a', { preemption: { reclaim: 'always' } }), ['preemption.reclaim enum']],
    [
      'the same user limit twice',
      division('a', {
        userLimits: [
          { resource: 'gpu', limit: 1 },
          { resource: 'gpu', limit: 2 },
        ],
      }),
      ['userLimits.1 duplicate'],
    ],
    ['a class of half a priority', { ...v1, kind: 'PriorityClass', name: 'x', value: 0.5 }, ['value integer']],
    [
      'guards of no duration',
      { ...v1, kind: 'Scheduling', guards: { grace: '30', pools: { east: { minRunTime: '400d' } } } },
      ['guards.grace duration', 'guards.pools.east.minRunTime range'],
    ],
    [
      'a period that is none',
      { ...v1, kind: 'Budget', division: 'a', currency: 'USD', limit: '1', period: 'hour' },
      ['period enum'],
    ],
    [
      'a time zone that is none, and of no period',
      { ...v1, kind: 'Budget', division: 'a', currency: 'USD', limit: '1', timeZone: 'Mars/Olympus' },
      ['timeZone conflict', 'timeZone time_zone'],
    ],
    [
      'nodes that are too few, of one name, and a window that never opens',
      pool({
        flavours: [
          {
            ...pool().flavours[0],
            nodes: [
              { name: 'n', gpus: 2 },
              { name: 'n', gpus: 4 },
            ],
          },
        ],
        offPeak: [{ cron: 'nightly', duration: '8h', timeZone: 'UTC' }],
      }),
      ['flavours.0.nodes.1.name duplicate', 'flavours.0.nodes capacity', 'offPeak.0.cron cron'],
    ],
    [
      'a GPU type of CPUs',
      pool({ flavours: [{ ...pool().flavours[0], resource: 'cpu', gpuType: 'H100' }] }),
      ['flavours.0.gpuType conflict'],
    ],
  ])('with %s is refused', (_what, value, expected) => {
    expect(refused(() => parseDocument(value))).toEqual(expected);
  });

  test('of each kind that Merit knows is taken', () => {
    const documents = [
      group('org', { parent: null, weight: 0, quotas: { east: { h100: { nominal: 2, borrow: null, lend: 0 } } } }),
      division('vision', {
        group: 'org',
        weight: 2.125,
        flavours: ['east/h100'],
        preemption: { own: 'lower-or-newer', reclaim: 'any', borrow: { maxPriority: null } },
        fallback: { whenFull: 'preempt', prefer: 'preempt' },
        queueing: 'strict',
        userLimits: [{ flavour: 'east/h100', resource: 'gpu', limit: 2 }],
      }),
      pool({ overcommit: true, offPeak: [{ cron: '0 22 * * *', duration: '8h', timeZone: 'Europe/Berlin' }] }),
      { ...v1, kind: 'PriorityClass', name: 'urgent', value: -5 },
      { ...v1, kind: 'Budget', division: 'vision', currency: 'EUR', limit: '10.50', period: 'week' },
      {
        ...v1,
        kind: 'Scheduling',
        fairSharing: { strategies: ['initial'] },
        guards: { rate: { burst: 1, perHour: 6 } },
      },
    ];
    expect(parseDocuments(documents)).toEqual(documents);
    expect(wrong(...documents)).toEqual([]);
  });

  test('that is there twice is refused, and so is every other fault of the list', () => {
    const list = [group('a'), group('b', { weight: 0.0001 }), group('a', { weight: 2 })];
    expect(refused(() => parseDocuments(list))).toEqual(['documents.1.weight scale', 'documents.2 duplicate']);
  });
});

describe('documents together', () => {
  test.each([
    ['a parent that is not there', [group('a', { parent: 'b' })], ['Group/a parent unknown_group']],
    ['a group of its own', [group('a', { parent: 'a' })], ['Group/a parent loop']],
    [
      'a loop, which is not told of the group that leads into it',
      [group('a', { parent: 'b' }), group('b', { parent: 'c' }), group('c', { parent: 'b' })],
      ['Group/b parent loop', 'Group/c parent loop'],
    ],
    ['a group that is not there', [division('a', { group: 'b' })], ['Division/a group unknown_group']],
    [
      'a quota of a pool that is not there',
      [group('a', { quotas: { west: { h: 1 } } })],
      ['Group/a quotas.west unknown_pool'],
    ],
    [
      'a quota of a flavour that is not there',
      [pool(), group('a', { quotas: { east: { a100: 1 } } })],
      ['Group/a quotas.east.a100 unknown_flavour'],
    ],
    [
      'flavours that are not there',
      [
        pool(),
        division('a', {
          flavours: ['east/h100', 'east/x'],
          userLimits: [{ flavour: 'west/h100', resource: 'gpu', limit: 1 }],
        }),
      ],
      ['Division/a flavours.1 unknown_flavour', 'Division/a userLimits.0.flavour unknown_flavour'],
    ],
    [
      'guards of a pool that is not there',
      [{ ...v1, kind: 'Scheduling', guards: { pools: { west: {} } } }],
      ['Scheduling/default guards.pools.west unknown_pool'],
    ],
    ['more than a pool has', [pool(), group('a', { quotas: { east: { h100: 5 } } })], ['Pool/east quotas overcommit']],
  ])('that name %s are refused', (_what, documents, expected) => {
    expect(wrong(...documents)).toEqual(expected);
  });

  test('may stand as deep as the limit and no deeper, and share out just what there is', () => {
    const chain = (length: number) =>
      Array.from({ length }, (_, i) => group(`g${i}`, i === 0 ? {} : { parent: `g${i - 1}` }));
    expect(wrong(...chain(MAX_GROUP_DEPTH))).toEqual([]);
    expect(wrong(...chain(MAX_GROUP_DEPTH + 1))).toEqual([`Group/g${MAX_GROUP_DEPTH} parent depth`]);
    expect(wrong(pool(), group('a', { quotas: { east: { h100: 4 } } }))).toEqual([]);
    expect(wrong(pool({ overcommit: true }), group('a', { quotas: { east: { h100: 9 } } }))).toEqual([]);
  });

  test('are applied after what they name, in one order whatever theirs', () => {
    const documents = [
      group('leaf', { parent: 'mid' }),
      group('mid', { parent: 'top' }),
      group('top'),
      group('alone'),
      division('vision', { group: 'leaf' }),
      pool(),
      { ...v1, kind: 'Scheduling' },
      { ...v1, kind: 'Budget', division: 'vision', currency: 'USD', limit: '1' },
    ].map((value) => parseDocument(value));
    const expected = [
      'Group/alone',
      'Group/top',
      'Group/mid',
      'Group/leaf',
      'Division/vision',
      'Pool/east',
      'Budget/vision-USD',
      'Scheduling/default',
    ];
    fc.assert(
      fc.property(fc.shuffledSubarray(documents, { minLength: documents.length }), (shuffled: Document[]) => {
        expect(inOrder(shuffled).map(documentKey)).toEqual(expected);
      }),
      { numRuns: 30 },
    );
  });
});

describe('differences', () => {
  test('are told field by field, members of lists by their names', () => {
    const from = {
      flavours: [
        { name: 'a', capacity: 1 },
        { name: 'b', capacity: 2 },
      ],
      order: [1, 2],
    };
    const to = {
      flavours: [
        { name: 'b', capacity: 3 },
        { name: 'a', capacity: 1 },
      ],
      order: [2, 1],
      more: { x: null },
    };
    expect(differences(from, to)).toEqual([
      { field: 'flavours', from: ['a', 'b'], to: ['b', 'a'] },
      { field: 'flavours.b.capacity', from: 2, to: 3 },
      { field: 'more', from: undefined, to: { x: null } },
      { field: 'order', from: [1, 2], to: [2, 1] },
    ]);
  });

  test('are none where two values are equal, and some where they are not', () => {
    const leaf = fc.constantFrom(0, 1, 'x', null);
    const named = fc.uniqueArray(fc.record({ name: fc.constantFrom('a', 'b', 'c'), size: leaf }), {
      selector: (one) => one.name,
    });
    const value = fc.oneof(
      leaf,
      fc.array(leaf, { maxLength: 3 }),
      named,
      fc.dictionary(fc.constantFrom('p', 'q'), fc.oneof(leaf, named)),
    );
    fc.assert(
      fc.property(value, value, (a, b) => {
        const isSame = contentHash(a) === contentHash(b);
        expect(differences(a, b).length > 0).toBe(!isSame);
      }),
      { numRuns: 500 },
    );
  });
});

describe('a period', () => {
  test.each([
    ['day', '2026-11-26T23:59:59.999Z', '2026-11-26'],
    ['week', '2026-11-29T12:00:00Z', '2026-11-23'],
    ['week', '2026-11-30T00:00:00Z', '2026-11-30'],
    ['week', '2027-01-01T00:00:00Z', '2026-12-28'],
    ['month', '2028-02-29T12:00:00Z', '2028-02-01'],
    ['quarter', '2026-12-31T23:00:00Z', '2026-10-01'],
    ['quarter', '2026-03-01T00:00:00Z', '2026-01-01'],
    ['year', '2026-12-31T23:59:59Z', '2026-01-01'],
  ] as const)('of a %s that holds %s began on %s', (period, at, began) => {
    expect(new Date(periodStartMs(period, Date.parse(at))).toISOString()).toBe(`${began}T00:00:00.000Z`);
  });
});
