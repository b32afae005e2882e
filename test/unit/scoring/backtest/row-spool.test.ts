import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { RowSpool } from '../../../../scoring/backtest/row-spool.ts';
import { seededRandom } from '../../../support/scoring-reports.ts';

const temporary = mkdtempSync(join(tmpdir(), 'merit-spool-test-'));
const realTemporary = process.env.TMPDIR;
afterAll(() => rmSync(temporary, { recursive: true, force: true }));

/** Rows as a backtest gives them away: tick by tick, each model with its composite and its window. */
function rowsOf(
  ticks: number,
): { readonly model: string; readonly window: '1h' | null; readonly end: string; readonly row: string }[] {
  const next = seededRandom(3);
  return Array.from({ length: ticks }, (_, tick) => String(tick).padStart(4, '0')).flatMap((end) =>
    ['m', 'm-1', 'm.', 'M', 'm_'].flatMap((model) => [
      { model, window: null, end, row: `"${model}",null,"${end}",null,${next()}]` },
      { model, window: '1h' as const, end, row: `"${model}","1h","${end}","a",${next()}]` },
      { model, window: '1h' as const, end, row: `"${model}","1h","${end}",null,${next()}]` },
    ]),
  );
}

describe('spilled rows', () => {
  test.each([0, 500, 2 ** 25])('come back in bytewise order, with room for %i bytes', (room) => {
    const spool = new RowSpool(room);
    try {
      const given = rowsOf(60);
      for (const { model, window, end, row } of given) spool.add(model, window, end, row);
      expect(Array.from(spool.rows())).toEqual(given.map(({ row }) => row).sort());
      expect(spool.spilled > 0).toBe(room < 2 ** 25);
    } finally {
      spool.close();
    }
  });

  test('stand the signs of years that have more digits, or none', () => {
    const spool = new RowSpool();
    const ends = ['-000001-12-31', '0000-01-01', '9999-12-31', '+010000-01-01'];
    for (const end of ends) spool.add('m', null, end, `"m",null,"${end}"]`);
    expect(Array.from(spool.rows())).toEqual(ends.map((end) => `"m",null,"${end}"]`).sort());
    spool.close();
  });

  test('leave nothing behind in the temporary folder', () => {
    process.env.TMPDIR = temporary;
    try {
      const spool = new RowSpool(10);
      for (const { model, window, end, row } of rowsOf(3)) spool.add(model, window, end, row);
      expect(readdirSync(temporary)).toHaveLength(1);
      spool.close();
      expect(readdirSync(temporary)).toEqual([]);
    } finally {
      if (realTemporary === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = realTemporary;
    }
  });
});
