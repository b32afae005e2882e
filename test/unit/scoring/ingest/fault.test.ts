import { describe, expect, test } from 'vitest';
import { OperatingError } from '../../../../core/operating-error.ts';
import { StaleLeader } from '../../../../platform/postgres.ts';
import { isInputFault } from '../../../../scoring/ingest/fault.ts';
import { StalePosition } from '../../../../scoring/ingest/positions.sql.ts';

const coded = (code: string) => Object.assign(new Error('x'), { code });

describe('a fault is blamed on the input', () => {
  test('where the code or the data failed', () => {
    for (const error of [new TypeError('x'), coded('22003'), coded('23505'), coded('P0001'), coded('54000')]) {
      expect(isInputFault(error)).toBe(true);
    }
  });

  test('and never where the world did: no disk, locks, time-outs, rights, another leader, a lost connection', () => {
    const world = ['53100', '53200', '55P03', '57014', '57P01', '40P01', '42501', '42P01', 'XX000', 'ECONNRESET'].map(
      coded,
    );
    const ours = [new StaleLeader('x'), new StalePosition('x'), new OperatingError('timeout', 'safe', 'x')];
    for (const error of [...world, ...ours, new Error('Connection terminated unexpectedly')]) {
      expect(isInputFault(error)).toBe(false);
    }
  });
});
