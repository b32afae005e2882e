import type { Row, Shape } from './render.ts';

/** How quotas and what operators declare look in a table. */

const named = (row: Row): string => String(row.name ?? '');

/** Flavours of one pool. */
export const THERE: Shape = {
  name: named,
  columns: [
    { head: 'FLAVOUR', cell: (row) => row.name },
    { head: 'RESOURCE', cell: (row) => row.resource },
    { head: 'DECLARED', cell: (row) => row.declared },
    { head: 'BOOKED', cell: (row) => row.booked },
    { head: 'THERE', cell: (row) => row.there ?? 'not told' },
    { head: 'FREE THERE', cell: (row) => row.free ?? '' },
    { head: 'PLANNED WITH', cell: (row) => row.planned },
  ],
};

export const GROUPS: Shape = {
  name: named,
  columns: [
    { head: 'NAME', cell: (row) => row.name },
    { head: 'PARENT', cell: (row) => row.parent },
    { head: 'WEIGHT', cell: (row) => row.weight },
    { head: 'VERSION', cell: (row) => row.version, wide: true },
  ],
};

export const DIVISIONS: Shape = {
  name: named,
  columns: [
    { head: 'NAME', cell: (row) => row.name },
    { head: 'GROUP', cell: (row) => row.group },
    { head: 'WEIGHT', cell: (row) => row.weight },
    { head: 'QUEUEING', cell: (row) => row.queueing },
    { head: 'VERSION', cell: (row) => row.version, wide: true },
  ],
};

export const PRIORITIES: Shape = {
  name: named,
  columns: [
    { head: 'NAME', cell: (row) => row.name },
    { head: 'VALUE', cell: (row) => row.value },
    { head: 'VERSION', cell: (row) => row.version, wide: true },
  ],
};

/** There is one of it. */
export const SCHEDULING: Shape = {
  name: () => 'default',
  columns: [
    { head: 'NAME', cell: () => 'default' },
    { head: 'VERSION', cell: (row) => row.version },
  ],
};

export const BUDGETS: Shape = {
  name: named,
  columns: [
    { head: 'DIVISION', cell: (row) => row.division },
    { head: 'CURRENCY', cell: (row) => row.currency },
    { head: 'LIMIT', cell: (row) => row.limit },
    { head: 'PERIOD', cell: (row) => row.period },
    { head: 'ZONE', cell: (row) => row.timeZone, wide: true },
    { head: 'HELD', cell: (row) => row.held },
    { head: 'SPENT', cell: (row) => row.spent },
    { head: 'LEFT', cell: (row) => row.left },
    { head: 'DRAIN DEBT', cell: (row) => row.drainDebt, wide: true },
    { head: 'VERSION', cell: (row) => row.version, wide: true },
  ],
};

/** One row a field that differs, and one for a document that does not. */
export const CHANGES: Shape = {
  name: (row) => `${String(row.kind)}/${String(row.name)}`,
  columns: [
    { head: 'KIND', cell: (row) => row.kind },
    { head: 'NAME', cell: (row) => row.name },
    { head: 'CHANGE', cell: (row) => row.change },
    { head: 'VERSION', cell: (row) => (row.version === '0' ? '' : row.version) },
    { head: 'FIELD', cell: (row) => row.field },
    { head: 'FROM', cell: (row) => row.from },
    { head: 'TO', cell: (row) => row.to },
  ],
};
