import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { RefusedInput } from '../../../../core/refusal.ts';
import { parseModel } from '../../../../scoring/registry/model-document.ts';

const document = { apiVersion: 'merit/v1', kind: 'Model', name: 'digits', division: 'vision', suite: 'digits' };
const retrain = { name: 'r', division: 'vision', resources: { cpus: 1 }, pools: ['local'], run: 'true' };

function refusalsOf(value: unknown): string[] {
  try {
    parseModel(value);
  } catch (error) {
    if (error instanceof RefusedInput) return error.refusals.map((one) => `${one.code} ${one.field}`);
    throw error;
  }
  return [];
}

describe('a model’s document', () => {
  test('of the example is taken as it stands', () => {
    const example = parse(readFileSync(new URL('../../../../examples/digits/model.yaml', import.meta.url), 'utf8'));
    expect(parseModel(example).retrain?.pools).toEqual(['ray-local', 'local']);
  });

  test('needs no retrain job', () => {
    expect(parseModel(document)).toEqual(document);
  });

  test('is refused with the field of each problem', () => {
    expect(refusalsOf({ ...document, name: 'a b', size: 1 })).toEqual(
      expect.arrayContaining(['charset name', 'unknown_field size']),
    );
    expect(refusalsOf({ ...document, kind: 'Suite' })).not.toEqual([]);
    expect(refusalsOf({ ...document, retrain: { ...retrain, division: 'audio' } })).toEqual([
      'division retrain.division',
    ]);
    expect(refusalsOf({ ...document, retrain: { ...retrain, lease: '5' } })).toEqual(['duration retrain.lease']);
    expect(refusalsOf({ ...document, name: 'n'.repeat(60), retrain })).toEqual(['length name']);
  });
});
