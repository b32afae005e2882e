import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { RefusedInput } from '../../../core/refusal.ts';
import { parseSuite } from '../../../core/suite.ts';
import { EXAMPLE_SUITE } from '../../support/scoring-reports.ts';

const MINIMAL = {
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 's',
  metrics: { a: { direction: 'higher', floor: 0, ceil: 1, required: true } },
};

/** A suite with one path replaced; undefined removes it. */
function changed(path: string, value: unknown, base: object = { ...MINIMAL, promotion: {} }): unknown {
  const copy = structuredClone(base) as Record<string, unknown>;
  const keys = path.split('.');
  let at = copy;
  for (const key of keys.slice(0, -1)) {
    at[key] ??= {};
    at = at[key] as Record<string, unknown>;
  }
  if (value === undefined) delete at[keys.at(-1)!];
  else at[keys.at(-1)!] = value;
  return copy;
}

function refusals(value: unknown): readonly string[] {
  try {
    parseSuite(value);
    return [];
  } catch (error) {
    if (!(error instanceof RefusedInput)) throw error;
    return error.refusals.map((refusal) => refusal.field);
  }
}

describe('a suite', () => {
  test('the example of the design is accepted, a cohort entry for a metric it does not have included', () => {
    const suite = parseSuite(EXAMPLE_SUITE);
    expect(suite.metrics.map((rule) => rule.name)).toEqual(['accuracy', 'latency_ms', 'solved']);
    expect(suite.tickMs).toBe(900_000);
    expect(suite.promotion).toMatchObject({ cooldownMs: 21_600_000, promoteTicks: 3 });
    expect(suite.metrics[2]?.valid).toEqual([0, 1]);
  });

  test('defaults are filled in, and absent optional members stay absent', () => {
    expect(parseSuite({ ...MINIMAL, promotion: { alpha: 0.01 } }).document).toEqual({
      ...MINIMAL,
      tick: '15m',
      windows: { '1h': 0.5, '24h': 0.3, '7d': 0.2 },
      minN: 30,
      minWeight: 0,
      shrinkage: { kappa: 20, prior: 0.5 },
      metrics: { a: { direction: 'higher', floor: 0, ceil: 1, required: true, kind: 'mean', scale: 6, weight: 1 } },
      promotion: {
        promoteAbove: 0.8,
        promoteTicks: 3,
        demoteBelow: 0.75,
        demoteTicks: 2,
        cooldown: '6h',
        minEffect: 0,
        alpha: 0.01,
      },
    });
    expect(parseSuite(MINIMAL).document).not.toHaveProperty('promotion');
  });

  test('its hash is the SHA-256 of the canonical text of that document', () => {
    const text =
      '{"apiVersion":"merit/v1","kind":"Suite","metrics":{"a":{"ceil":1,"direction":"higher","floor":0,"kind":"mean","required":true,"scale":6,"weight":1}},"minN":30,"minWeight":0,"name":"s","shrinkage":{"kappa":20,"prior":0.5},"tick":"15m","windows":{"1h":0.5,"24h":0.3,"7d":0.2}}';
    expect(parseSuite(MINIMAL).hash).toBe(createHash('sha256').update(text).digest('hex'));
  });

  test('a default written out gives the same hash, and another order of keys too', () => {
    const written = {
      metrics: MINIMAL.metrics,
      kind: 'Suite',
      name: 's',
      apiVersion: 'merit/v1',
      minN: 30,
      tick: '15m',
    };
    expect(parseSuite(written).hash).toBe(parseSuite(MINIMAL).hash);
    expect(parseSuite({ ...MINIMAL, minN: 31 }).hash).not.toBe(parseSuite(MINIMAL).hash);
  });

  test('windows that are given are not mixed with the default ones', () => {
    expect(parseSuite({ ...MINIMAL, windows: { '7d': 1, '1h': 2 } }).windows).toEqual([
      { name: '1h', weight: 2 },
      { name: '7d', weight: 1 },
    ]);
  });

  test.each([
    ['another apiVersion', 'apiVersion', 'merit/v2'],
    ['another kind', 'kind', 'Metric'],
    ['no name', 'name', undefined],
    ['a name with a space', 'name', 'a b'],
    ['an unknown member', 'metrix', {}],
    ['a tick without unit', 'tick', '15'],
    ['a tick that is a number', 'tick', 15],
    ['a tick of seconds', 'tick', '90s'],
    ['a tick of a week', 'tick', '7d'],
    ['a window of another length', 'windows.2h', 1],
    ['no windows at all', 'windows', {}],
    ['a window weight of 0', 'windows.1h', 0],
    ['a negative window weight', 'windows.1h', -1],
    ['minN 0', 'minN', 0],
    ['minN 1.5', 'minN', 1.5],
    ['a negative minWeight', 'minWeight', -1],
    ['a negative kappa', 'shrinkage.kappa', -1],
    ['a prior above 1', 'shrinkage.prior', 1.1],
    ['an unknown member of shrinkage', 'shrinkage.mu', 1],
    ['no metrics', 'metrics', {}],
    ['metrics as a list', 'metrics', []],
    ['a metric name with a space', 'metrics.a b', { direction: 'higher', floor: 0, ceil: 1 }],
    ['no direction', 'metrics.a.direction', undefined],
    ['a direction of neither kind', 'metrics.a.direction', 'up'],
    ['a kind of none', 'metrics.a.kind', 'median'],
    ['scale 13', 'metrics.a.scale', 13],
    ['scale −1', 'metrics.a.scale', -1],
    ['scale 1.5', 'metrics.a.scale', 1.5],
    ['no ceil', 'metrics.a.ceil', undefined],
    ['floor at ceil', 'metrics.a.floor', 1],
    ['floor above ceil where higher is better', 'metrics.a.floor', 2],
    ['a floor that is infinite', 'metrics.a.floor', Number.POSITIVE_INFINITY],
    ['a floor that is text', 'metrics.a.floor', '0'],
    ['valid with one end', 'metrics.a.valid', [0]],
    ['valid upside down', 'metrics.a.valid', [1, 0]],
    ['a weight of 0', 'metrics.a.weight', 0],
    ['required as text', 'metrics.a.required', 'yes'],
    ['an unknown member of a metric', 'metrics.a.colour', 'red'],
    ['a quantile of a mean', 'metrics.a.quantile', 0.5],
    ['a guardrail without bound', 'metrics.a.guardrail', {}],
    ['a guardrail with two bounds', 'metrics.a.guardrail', { max: 1, min: 0 }],
    ['cohort without version', 'cohort', { metrics: {} }],
    ['a negative mad', 'cohort', { version: 1, metrics: { a: { median: 0, mad: -1, meanAd: 1 } } }],
    ['a cohort entry without meanAd', 'cohort', { version: 1, metrics: { a: { median: 0, mad: 1 } } }],
    ['promoteTicks 0', 'promotion.promoteTicks', 0],
    ['demoteBelow above promoteAbove', 'promotion.demoteBelow', 0.9],
    ['alpha 0', 'promotion.alpha', 0],
    ['alpha 1', 'promotion.alpha', 1],
    ['a cooldown without unit', 'promotion.cooldown', '6'],
    ['a negative minEffect', 'promotion.minEffect', -0.1],
    ['null for a member', 'minN', null],
    ['a date object', 'name', new Date(0)],
  ])('refuses %s', (_name, path, value) => {
    expect(refusals(changed(path, value))).not.toEqual([]);
  });

  test.each([
    ['a quantile metric without quantile', { direction: 'higher', kind: 'quantile', floor: 0, ceil: 1 }],
    ['a quantile of 1', { direction: 'higher', kind: 'quantile', quantile: 1, floor: 0, ceil: 1 }],
    [
      'a median with a guardrail',
      { direction: 'lower', kind: 'quantile', quantile: 0.5, floor: 1, ceil: 0, guardrail: { max: 1 } },
    ],
    ['a binary metric valid beyond 1', { direction: 'higher', kind: 'binary', floor: 0, ceil: 1, valid: [0, 2] }],
    ['floor below ceil where lower is better', { direction: 'lower', floor: 0, ceil: 1 }],
    ['neither anchors nor cohort', { direction: 'higher' }],
    ['anchors too far apart for a double', { direction: 'higher', floor: -1.7e308, ceil: 1.7e308 }],
  ])('refuses %s', (_name, metric) => {
    expect(refusals({ ...MINIMAL, metrics: { b: metric } })).not.toEqual([]);
  });

  test('a metric without anchors takes the cohort, and anchors win over it', () => {
    const cohort = { version: 1, metrics: { a: { median: 1, mad: 2, meanAd: 3 } } };
    const bare = parseSuite({ ...MINIMAL, cohort, metrics: { a: { direction: 'lower' } } });
    expect(bare.metrics[0]?.map).toEqual({ kind: 'cohort', median: 1, mad: 2, meanAd: 3 });
    expect(parseSuite({ ...MINIMAL, cohort }).metrics[0]?.map.kind).toBe('anchors');
  });

  test('promotion without a required metric is refused', () => {
    const optional = { a: { direction: 'higher', floor: 0, ceil: 1 } };
    expect(refusals({ ...MINIMAL, metrics: optional, promotion: {} })).toEqual(['promotion']);
  });

  test('a metric may not be called __proto__', () => {
    const metrics = JSON.parse('{"__proto__":{"direction":"higher","floor":0,"ceil":1}}') as object;
    expect(refusals({ ...MINIMAL, metrics })).toContain('metrics.__proto__');
  });

  test('all refusals are told at once, each with its path', () => {
    const value = { ...MINIMAL, tick: 'x', minN: 0, metrics: { 'a.b': { direction: 'higher', floor: 0, weight: -1 } } };
    expect(refusals(value)).toEqual(['tick', 'minN', 'metrics.a.b.weight', 'metrics.a.b.ceil']);
  });

  test.each([null, undefined, [], 'text', 7])('%j is refused as no map', (value) => {
    expect(refusals(value)).toEqual(['']);
  });
});
