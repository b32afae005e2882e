import { expect, test } from 'vitest';
import { TRANSITIONS } from '../../../core/booking.ts';
import { EXTENSION_EVENTS } from '../../../core/extension.ts';
import { invariantQueries } from '../../../ledger/invariants.ts';

test('every query has a name of its own and is read-only', () => {
  const queries = invariantQueries();
  expect(queries.length).toBeGreaterThan(15);
  expect(new Set(queries.map((query) => query.name)).size).toBe(queries.length);
  for (const { name, sql } of queries) expect(sql, name).toMatch(/^(--.*\n)*(select|with)\b/);
});

test('the transitions the database is checked against are those of core/booking, no more and no fewer', () => {
  const { sql } = invariantQueries().find((query) => query.name === 'transitions_are_legal')!;
  const edges = [...sql.slice(0, sql.indexOf('steps as')).matchAll(/\('([a-z_]+)', '([a-z_]+)'\)/g)].map(
    ([, from, to]) => `${from} ${to}`,
  );
  const legal = Object.entries(TRANSITIONS).flatMap(([from, tos]) => tos.map((to) => `${from} ${to}`));
  expect(edges.sort()).toEqual(legal.sort());
});

test('every state of core/booking counts as a transition in each query that lists them', () => {
  const lists = invariantQueries().flatMap(({ sql }) =>
    [...sql.matchAll(/type in \(([^)]*)\)/g)].map(([, list]) => list!),
  );
  expect(lists).toHaveLength(3);
  const expected = ['booking.created', ...Object.keys(TRANSITIONS).map((state) => `booking.${state}`)].sort();
  const versioned = [...expected, ...Object.values(EXTENSION_EVENTS)].sort();
  const typesIn = (list: string) => [...list.matchAll(/'([a-z_.]+)'/g)].map(([, type]) => type).sort();
  expect(lists.map(typesIn).sort((a, b) => b.length - a.length)).toEqual([versioned, expected, expected]);
});
