import type { Json } from './canonical.ts';
import { isJsonObject } from './json.ts';
import { type Refusal, refuse } from './refusal.ts';
import type { Guardrail, MetricMap, MetricRule, PromotionRule, Statistic, Suite, WindowRule } from './suite.ts';
import { MapReader, notJson } from './suite-reader.ts';

export const SUITE_MAX_METRICS = 256;
export const SUITE_MAX_SCALE = 12;
/** Ticks are whole minutes: the smallest pane is a minute, so a shorter tick would publish the same window again. */
const MIN_TICK_MS = 60_000;
const MAX_TICK_MS = 86_400_000;
const MAX_COOLDOWN_MS = 366 * 86_400_000;
/** Weights stay where sums and products of doubles lose nothing that shows. */
const MIN_SUITE_WEIGHT = 1e-9;
const MAX_SUITE_WEIGHT = 1e9;
const MAX_COUNT = 1e9;
const MAX_TICKS = 10_000;
const WINDOW_NAMES = ['1h', '24h', '7d'] as const;
const DEFAULT_WINDOWS: WindowRule[] = [
  { name: '1h', weight: 0.5 },
  { name: '24h', weight: 0.3 },
  { name: '7d', weight: 0.2 },
];

const SUITE_MEMBERS = [
  'apiVersion',
  'kind',
  'name',
  'tick',
  'windows',
  'minN',
  'minWeight',
  'shrinkage',
  'metrics',
  'cohort',
  'promotion',
];
const PROMOTION_MEMBERS = [
  'promoteAbove',
  'promoteTicks',
  'demoteBelow',
  'demoteTicks',
  'cooldown',
  'minEffect',
  'alpha',
];
const METRIC_MEMBERS = [
  'direction',
  'kind',
  'quantile',
  'scale',
  'floor',
  'ceil',
  'valid',
  'weight',
  'required',
  'guardrail',
];

/** Everything of a suite but its hash; undefined only where the value is no map at all. Refusals are collected. */
export function suiteDocument(value: unknown, refusals: Refusal[]): Omit<Suite, 'hash'> | undefined {
  if (!isJsonObject(value)) {
    refusals.push(refuse('not_an_object', '', 'must be a map', 'start with apiVersion: merit/v1'));
    return undefined;
  }
  const strange = notJson(value);
  if (strange !== undefined) {
    const mend = 'use strings, finite numbers, true, false, lists and maps only';
    refusals.push(refuse('json', strange, 'is no JSON value', mend));
    return undefined;
  }
  const given = new MapReader(refusals, '', value, SUITE_MEMBERS);
  given.literal('apiVersion', 'merit/v1');
  given.literal('kind', 'Suite');
  const name = given.name('name');
  const tick = given.text('tick', '15m');
  const tickMs = given.durationMs('tick', tick, MIN_TICK_MS, MAX_TICK_MS);
  if (tickMs % MIN_TICK_MS !== 0 && !Number.isNaN(tickMs)) {
    given.refuse('range', 'tick', 'must be whole minutes', 'write 15m');
  }
  const windows = readWindows(given);
  const minN = given.integer('minN', { min: 1, max: MAX_COUNT, missing: 30 });
  const minWeight = given.number('minWeight', { min: 0, max: Number.MAX_SAFE_INTEGER, missing: 0 });
  const shrinkage = readShrinkage(given);
  const metrics = readMetrics(given, readCohort(given));
  const promotion = readPromotion(given, metrics.rules);
  const document: { [key: string]: Json } = {
    ...value,
    tick,
    windows: Object.fromEntries(windows.map((window) => [window.name, window.weight])),
    minN,
    minWeight,
    shrinkage,
    metrics: metrics.document,
  };
  if (promotion !== undefined) document.promotion = promotion.document;
  return {
    name,
    tickMs,
    windows,
    minN,
    minWeight,
    shrinkage,
    metrics: metrics.rules,
    promotion: promotion?.rule ?? null,
    document,
  };
}

function readWindows(given: MapReader): WindowRule[] {
  if (!given.has('windows')) return DEFAULT_WINDOWS;
  const windows = given.mapOrEmpty('windows', WINDOW_NAMES);
  if (windows.keys().length === 0) windows.refuse('required', '', 'is empty', 'weigh at least one window');
  return WINDOW_NAMES.filter((name) => windows.has(name)).map((name) => ({
    name,
    weight: windows.number(name, { min: MIN_SUITE_WEIGHT, max: MAX_SUITE_WEIGHT }),
  }));
}

function readShrinkage(given: MapReader): { kappa: number; prior: number } {
  const shrinkage = given.mapOrEmpty('shrinkage', ['kappa', 'prior']);
  return {
    kappa: shrinkage.number('kappa', { min: 0, max: MAX_COUNT, missing: 20 }),
    prior: shrinkage.number('prior', { min: 0, max: 1, missing: 0.5 }),
  };
}

type Cohort = ReadonlyMap<string, MetricMap>;

function readCohort(given: MapReader): Cohort {
  const maps = new Map<string, MetricMap>();
  const cohort = given.map('cohort', ['version', 'metrics']);
  if (cohort === undefined) return maps;
  cohort.integer('version', { min: 1, max: MAX_COUNT });
  const metrics = cohort.map('metrics', undefined);
  if (metrics === undefined) {
    if (!cohort.has('metrics')) {
      cohort.refuse('required', 'metrics', 'is missing', 'give median, mad and meanAd of each metric');
    }
    return maps;
  }
  for (const name of metrics.keys()) {
    metrics.metricName(name);
    const entry = metrics.map(name, ['median', 'mad', 'meanAd']);
    if (entry === undefined) continue;
    maps.set(name, {
      kind: 'cohort',
      median: entry.number('median', {}),
      mad: entry.number('mad', { min: 0 }),
      meanAd: entry.number('meanAd', { min: 0 }),
    });
  }
  return maps;
}

interface MetricsRead {
  readonly rules: readonly MetricRule[];
  readonly document: { readonly [name: string]: Json };
}

function readMetrics(given: MapReader, cohort: Cohort): MetricsRead {
  const metrics = given.map('metrics', undefined);
  const names = metrics?.keys() ?? [];
  if (metrics === undefined || names.length === 0) {
    given.refuse('required', 'metrics', 'holds no metric', 'name at least one metric');
    return { rules: [], document: {} };
  }
  if (names.length > SUITE_MAX_METRICS) {
    given.refuse('size', 'metrics', `holds more than ${SUITE_MAX_METRICS} metrics`, 'split the suite');
    return { rules: [], document: {} };
  }
  const rules: MetricRule[] = [];
  const document: { [name: string]: Json } = {};
  for (const name of names) {
    metrics.metricName(name);
    const entry = metrics.map(name, METRIC_MEMBERS);
    if (entry === undefined) continue;
    const rule = readMetric(name, entry, cohort.get(name));
    rules.push(rule);
    const { statistic, scale, weight, required } = rule;
    document[name] = { ...entry.value, kind: statistic.kind, scale, weight, required };
  }
  return { rules, document };
}

function readMetric(name: string, entry: MapReader, cohort: MetricMap | undefined): MetricRule {
  const direction = entry.choice('direction', ['higher', 'lower'], undefined);
  const statistic = readStatistic(entry);
  const scale = entry.integer('scale', { min: 0, max: SUITE_MAX_SCALE, missing: 6 });
  return {
    name,
    direction,
    statistic,
    scale,
    factor: 10 ** scale,
    valid: readValid(entry, statistic),
    weight: entry.number('weight', { min: MIN_SUITE_WEIGHT, max: MAX_SUITE_WEIGHT, missing: 1 }),
    required: entry.flag('required', false),
    map: readMap(entry, direction, cohort),
    guardrail: readGuardrail(entry, statistic),
  };
}

function readStatistic(entry: MapReader): Statistic {
  const kind = entry.choice('kind', ['mean', 'quantile', 'binary'], 'mean');
  if (kind !== 'quantile') {
    if (entry.has('quantile')) entry.refuse('unexpected', 'quantile', 'needs kind: quantile', 'remove it');
    return { kind };
  }
  const p = entry.number('quantile', {});
  if (!Number.isNaN(p) && !(p > 0 && p < 1)) {
    entry.refuse('range', 'quantile', 'must be above 0 and below 1', 'write 0.95 for p95');
  }
  return { kind, p };
}

function readValid(entry: MapReader, statistic: Statistic): readonly [number, number] | null {
  const binary = statistic.kind === 'binary';
  if (!entry.has('valid')) return binary ? [0, 1] : null;
  const given = entry.value.valid;
  const [low, high] = Array.isArray(given) && given.length === 2 ? (given as readonly unknown[]) : [];
  if (typeof low !== 'number' || typeof high !== 'number' || low > high) {
    entry.refuse('range', 'valid', 'must be two numbers, the lower one first', 'write [0, 1]');
    return null;
  }
  if (binary && (low < 0 || high > 1)) {
    entry.refuse('range', 'valid', 'must lie within [0, 1] for a binary metric', 'remove it');
  }
  return [low, high];
}

function readMap(entry: MapReader, direction: 'higher' | 'lower', cohort: MetricMap | undefined): MetricMap {
  const hasFloor = entry.has('floor');
  const hasCeil = entry.has('ceil');
  if (!hasFloor && !hasCeil) {
    if (cohort !== undefined) return cohort;
    entry.refuse('required', '', 'has neither anchors nor a cohort entry', 'give floor and ceil');
    return { kind: 'anchors', floor: 0, ceil: 1 };
  }
  if (hasFloor !== hasCeil) {
    entry.refuse('required', hasFloor ? 'ceil' : 'floor', 'is missing', 'give floor and ceil together');
    return { kind: 'anchors', floor: 0, ceil: 1 };
  }
  const floor = entry.number('floor', {});
  const ceil = entry.number('ceil', {});
  const agrees = direction === 'higher' ? floor < ceil : floor > ceil;
  if (!Number.isNaN(floor) && !Number.isNaN(ceil) && !agrees) {
    const mend = direction === 'higher' ? 'give floor < ceil' : 'give floor > ceil: floor is the worst value';
    entry.refuse('direction', 'floor', `disagrees with direction: ${direction}`, mend);
  } else if (agrees && !Number.isFinite(ceil - floor)) {
    entry.refuse('range', 'floor', 'is too far from ceil', 'bring the anchors closer');
  }
  return { kind: 'anchors', floor, ceil };
}

function readGuardrail(entry: MapReader, statistic: Statistic): Guardrail | null {
  const guardrail = entry.map('guardrail', ['max', 'min']);
  if (guardrail === undefined) return null;
  if (statistic.kind === 'quantile' && !(statistic.p > 0.5)) {
    entry.refuse('range', 'quantile', 'must be above 0.5 where a guardrail stands', 'guard an upper quantile');
  }
  const hasMax = guardrail.has('max');
  if (hasMax === guardrail.has('min')) {
    guardrail.refuse('required', '', 'needs exactly one of max and min', 'write {max: 500}');
    return null;
  }
  return hasMax ? { max: guardrail.number('max', {}) } : { min: guardrail.number('min', {}) };
}

function readPromotion(
  given: MapReader,
  metrics: readonly MetricRule[],
): { readonly rule: PromotionRule; readonly document: Json } | undefined {
  const promotion = given.map('promotion', PROMOTION_MEMBERS);
  if (promotion === undefined) return undefined;
  if (!metrics.some((rule) => rule.required)) {
    promotion.refuse('required', '', 'needs a required metric', 'mark a metric required: true');
  }
  const promoteAbove = promotion.number('promoteAbove', { min: 0, max: 1, missing: 0.8 });
  const demoteBelow = promotion.number('demoteBelow', { min: 0, max: 1, missing: 0.75 });
  if (demoteBelow > promoteAbove) {
    promotion.refuse('range', 'demoteBelow', 'is above promoteAbove', 'leave a dead band between the two');
  }
  const alpha = promotion.number('alpha', { missing: 0.05 });
  if (!Number.isNaN(alpha) && !(alpha > 0 && alpha < 1)) {
    promotion.refuse('range', 'alpha', 'must be above 0 and below 1', 'write 0.05');
  }
  const cooldown = promotion.text('cooldown', '6h');
  const filled = {
    promoteAbove,
    promoteTicks: promotion.integer('promoteTicks', { min: 1, max: MAX_TICKS, missing: 3 }),
    demoteBelow,
    demoteTicks: promotion.integer('demoteTicks', { min: 1, max: MAX_TICKS, missing: 2 }),
    minEffect: promotion.number('minEffect', { min: 0, max: 1, missing: 0 }),
    alpha,
  };
  const cooldownMs = promotion.durationMs('cooldown', cooldown, 0, MAX_COOLDOWN_MS);
  return { rule: { ...filled, cooldownMs }, document: { ...filled, cooldown } };
}
