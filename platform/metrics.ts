import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { assert } from '../core/assert.ts';

/**
 * What a label may hold: one of a closed list, or at most so many different texts in the life of the process. Anything else
 * counts as `other`: no input can make the registry grow without end.
 */
export type LabelRule = readonly string[] | { readonly atMost: number };
export type LabelRules = Readonly<Record<string, LabelRule>>;
type Values<Rules extends LabelRules> = { readonly [Label in keyof Rules]: string };

export interface Metrics {
  /** `name` ends in `_total`. */
  counter<const Rules extends LabelRules>(
    name: string,
    help: string,
    labels: Rules,
  ): (values: Values<Rules>, by?: number) => void;
  gauge<const Rules extends LabelRules>(
    name: string,
    help: string,
    labels: Rules,
  ): (values: Values<Rules>, value: number) => void;
  /** `name` ends in its unit: `_seconds`, `_bytes`. */
  histogram<const Rules extends LabelRules>(
    name: string,
    help: string,
    labels: Rules,
    buckets?: readonly number[],
  ): (values: Values<Rules>, value: number) => void;
  /** Prometheus' text format. */
  expose(): Promise<{ readonly contentType: string; readonly body: string }>;
}

/** From 1 ms to 1 min, so that a p95 of 200 ms falls on an edge. */
export const LATENCY_BUCKETS_S: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 15, 30, 60,
];
const OTHER = 'other';
const MAX_LABEL_LENGTH = 128;

/** A registry of its own. `processMetrics`: CPU, memory and event-loop lag of this process too. */
export function createMetrics(options: { readonly processMetrics: boolean }): Metrics {
  const registry = new Registry();
  if (options.processMetrics) collectDefaultMetrics({ register: registry });
  const config = (name: string, help: string, labels: LabelRules) => ({
    name,
    help,
    labelNames: Object.keys(labels),
    registers: [registry],
  });
  return {
    counter: (name, help, labels) => {
      assert(name.endsWith('_total'), `the counter ${name} ends in _total`);
      const metric = new Counter(config(name, help, labels));
      const bound = binder(labels);
      return (values, by = 1) => metric.inc(bound(values), by);
    },
    gauge: (name, help, labels) => {
      const metric = new Gauge(config(name, help, labels));
      const bound = binder(labels);
      return (values, value) => metric.set(bound(values), value);
    },
    histogram: (name, help, labels, buckets = LATENCY_BUCKETS_S) => {
      assert(/_(seconds|bytes|messages)$/.test(name), `the histogram ${name} ends in its unit`);
      const metric = new Histogram({ ...config(name, help, labels), buckets: [...buckets] });
      const bound = binder(labels);
      return (values, value) => metric.observe(bound(values), value);
    },
    expose: async () => ({ contentType: registry.contentType, body: await registry.metrics() }),
  };
}

function binder(rules: LabelRules): (values: Readonly<Record<string, string>>) => Record<string, string> {
  const keepers = Object.entries(rules).map(([label, rule]) => [label, keeper(rule)] as const);
  return (values) => Object.fromEntries(keepers.map(([label, keep]) => [label, keep(values[label] ?? '')]));
}

function keeper(rule: LabelRule): (text: string) => string {
  if (!('atMost' in rule)) {
    const allowed = new Set(rule);
    return (text) => (allowed.has(text) ? text : OTHER);
  }
  const seen = new Set<string>();
  return (text) => {
    if (seen.has(text)) return text;
    if (seen.size >= rule.atMost || text.length > MAX_LABEL_LENGTH) return OTHER;
    seen.add(text);
    return text;
  };
}
