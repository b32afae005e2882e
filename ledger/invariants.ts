import { readFileSync } from 'node:fs';
import { assert } from '../core/assert.ts';
import type { Row, Tx } from '../platform/postgres.ts';

export interface InvariantQuery {
  readonly name: string;
  readonly sql: string;
}

export interface Violation {
  readonly invariant: string;
  /** The first rows that break it. */
  readonly rows: readonly Row[];
}

/** Rows told of one broken invariant. */
const MAX_ROWS_TOLD = 20;

/** The queries of invariants.sql, in order. */
export function invariantQueries(): readonly InvariantQuery[] {
  const text = readFileSync(new URL('./invariants.sql', import.meta.url), 'utf8');
  return text
    .split(/^-- name: /m)
    .slice(1)
    .map((part) => {
      const end = part.indexOf('\n');
      return { name: part.slice(0, end).trim(), sql: part.slice(end + 1).trim() };
    });
}

/** Checks every invariant in one engine transaction; an empty list: all hold. */
export async function checkInvariants(tx: Tx): Promise<readonly Violation[]> {
  const violations: Violation[] = [];
  const queries = invariantQueries();
  assert(queries.length > 0, 'invariants.sql has queries');
  for (const { name, sql } of queries) {
    const rows = await tx.query(`select * from (${sql}) offending limit ${MAX_ROWS_TOLD}`);
    if (rows.length > 0) violations.push({ invariant: name, rows });
  }
  return violations;
}
