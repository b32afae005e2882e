import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import { isRecord, type RuntimeEnv, runtimeEnvRefusals } from './runtime-env.ts';

/** What a job may ask of a Ray besides what every provider knows: `options: {ray: {…}}` in its file. */
export interface RayJobOptions {
  readonly runtime_env?: RuntimeEnv;
  /** Only on nodes whose labels match: `{"ray.io/accelerator-type": "H100", "zone": "in(a,b)"}`. */
  readonly labels?: Readonly<Record<string, string>>;
  /** strict: each of its nodes is another machine, or it does not start. Absent: spread as far as they go. */
  readonly spread?: 'strict';
}

const KEYS: readonly string[] = ['runtime_env', 'labels', 'spread'];
const LABELS_LIMIT = 16;
/** As Kubernetes has them, an optional prefix before the slash. Ray takes what is longer, and never matches it. */
const LABEL_KEY = /^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const WORD = '[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?';
/** `a`, `!a`, `in(a,b)`, `!in(a,b)`. */
const LABEL_VALUE = new RegExp(`^(!?${WORD}|!?in\\(${WORD}(, ?${WORD})*\\))$`);

/** The checked options of a job; throws RefusedInput with every problem at once. */
export function rayJobOptions(value: unknown): RayJobOptions {
  const refusals = jobOptionsRefusals(value);
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return (value ?? {}) as RayJobOptions;
}

/** All that is wrong with `options.ray` of a job; fields as they stand in its file. */
export function jobOptionsRefusals(value: unknown): readonly Refusal[] {
  const field = 'options.ray';
  if (value === undefined) return [];
  if (!isRecord(value)) return [refuse('type', field, 'is no object', `write ${KEYS.join(', ')} below it`)];
  const unknown = Object.keys(value).filter((key) => !KEYS.includes(key));
  return [
    ...unknown.map((key) =>
      refuse('unknown_field', `${field}.${key}`, 'is not known', `remove it; there are ${KEYS.join(', ')}`),
    ),
    ...(value.spread === undefined || value.spread === 'strict'
      ? []
      : [refuse('enum', `${field}.spread`, 'is not strict', 'write strict, or leave it out')]),
    ...labelRefusals(`${field}.labels`, value.labels),
    ...runtimeEnvRefusals(`${field}.runtime_env`, value.runtime_env),
  ];
}

/** A malformed selector is a 400 of Ray that names no field. */
export function labelRefusals(field: string, value: unknown): readonly Refusal[] {
  if (value === undefined) return [];
  const mend = 'write name: value, as in zone: a, zone: "!a" or zone: in(a,b)';
  if (!isRecord(value)) return [refuse('type', field, 'is no object', mend)];
  const entries = Object.entries(value);
  if (entries.length > LABELS_LIMIT)
    return [refuse('range', field, `has ${entries.length}`, `name at most ${LABELS_LIMIT}`)];
  return entries.flatMap(([key, wanted]) => {
    if (!LABEL_KEY.test(key)) return [refuse('charset', `${field}.${key.slice(0, 80)}`, 'is no name of a label', mend)];
    const isValue = typeof wanted === 'string' && LABEL_VALUE.test(wanted);
    return isValue ? [] : [refuse('format', `${field}.${key}`, 'is no value of a label', mend)];
  });
}
