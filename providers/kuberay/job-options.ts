import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import { LABEL_NAME_PATTERN, LABEL_VALUE_PATTERN } from '../kubernetes/flavour.ts';
import { isRecord, type RuntimeEnv, runtimeEnvRefusals } from '../ray/runtime-env.ts';
import { IMAGE_PATTERN } from './config.ts';

/** What a job may ask of a Ray that KubeRay starts for it: `options: {kuberay: {…}}` in its file. */
export interface KubeRayJobOptions {
  /** Instead of the pool's; it has the pool's version of Ray. */
  readonly image?: string;
  /** As on Ray, but for the image. */
  readonly runtime_env?: RuntimeEnv;
  /** Only on nodes that have these labels, too. */
  readonly nodeSelector?: Readonly<Record<string, string>>;
  /** strict: each of its nodes is another machine, or it does not start. Absent: as Kubernetes puts them. */
  readonly spread?: 'strict';
}

const KEYS: readonly string[] = ['image', 'runtime_env', 'nodeSelector', 'spread'];
const LABELS_LIMIT = 16;
const IMAGE = new RegExp(IMAGE_PATTERN);
const LABEL_NAME = new RegExp(LABEL_NAME_PATTERN);
const LABEL_VALUE = new RegExp(LABEL_VALUE_PATTERN);
const FIELD = 'options.kuberay';

/** The checked options of a job; throws RefusedInput with every problem at once. */
export function kubeRayJobOptions(value: unknown): KubeRayJobOptions {
  const refusals = jobOptionsRefusals(value);
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return (value ?? {}) as KubeRayJobOptions;
}

/** All that is wrong with `options.kuberay` of a job; fields as they stand in its file. */
export function jobOptionsRefusals(value: unknown): readonly Refusal[] {
  if (value === undefined) return [];
  if (!isRecord(value)) return [refuse('type', FIELD, 'is no object', `write ${KEYS.join(', ')} below it`)];
  const unknown = Object.keys(value).filter((key) => !KEYS.includes(key));
  const { image, runtime_env: runtimeEnv, nodeSelector, spread } = value;
  const isImage = image === undefined || (typeof image === 'string' && IMAGE.test(image));
  return [
    ...unknown.map((key) =>
      refuse(
        'unknown_field',
        `${FIELD}.${key.slice(0, 80)}`,
        'is not known',
        `remove it; there are ${KEYS.join(', ')}`,
      ),
    ),
    ...(isImage ? [] : [refuse('format', `${FIELD}.image`, 'is no image', 'write it as registry/name@sha256:…')]),
    ...(spread === undefined || spread === 'strict'
      ? []
      : [refuse('enum', `${FIELD}.spread`, 'is not strict', 'write strict, or leave it out')]),
    ...selectorRefusals(nodeSelector),
    ...runtimeEnvRefusals(`${FIELD}.runtime_env`, runtimeEnv),
    ...(isRecord(runtimeEnv) && runtimeEnv.image_uri !== undefined
      ? [refuse('conflict', `${FIELD}.runtime_env.image_uri`, 'is not taken here', `write ${FIELD}.image`)]
      : []),
  ];
}

function selectorRefusals(value: unknown): readonly Refusal[] {
  const field = `${FIELD}.nodeSelector`;
  if (value === undefined) return [];
  const mend = 'write labels of nodes as name: value';
  if (!isRecord(value)) return [refuse('type', field, 'is no object', mend)];
  const entries = Object.entries(value);
  if (entries.length > LABELS_LIMIT)
    return [refuse('range', field, `has ${entries.length}`, `name at most ${LABELS_LIMIT}`)];
  return entries.flatMap(([name, wanted]) => {
    if (!LABEL_NAME.test(name))
      return [refuse('charset', `${field}.${name.slice(0, 80)}`, 'is no name of a label', mend)];
    const isValue = typeof wanted === 'string' && LABEL_VALUE.test(wanted);
    return isValue ? [] : [refuse('format', `${field}.${name}`, 'is no value of a label', mend)];
  });
}
