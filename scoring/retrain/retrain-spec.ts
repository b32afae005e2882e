import { jobProducer } from '../../core/ids.ts';
import { type JobSpec, jobSpec } from '../../core/job.ts';
import type { JobFile } from '../../core/job-file.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';

export interface RetrainParameters {
  /** The version that the job brings: its reports carry it as `model`. */
  readonly newVersion: string;
  readonly suite: string;
  readonly bookingId: string;
  /** Event time from which the new version is evaluated. */
  readonly demotedTickMs: number;
}

/**
 * The job that a retrain books: the model's template with Merit's own members set over its parameters. It takes spot first and
 * starts off-peak, where its pools have either, unless the template says otherwise. `outputs` is set by the scheduler for each attempt. Throws RefusedInput where the template is no job. Pure.
 */
export function retrainSpec(template: unknown, given: RetrainParameters): JobSpec {
  const spec = jobSpec(template);
  const { window } = (template as JobFile).schedule ?? {};
  return {
    ...spec,
    ...(spec.useSpot === undefined ? { prefersSpot: true } : {}),
    ...(window === undefined ? { offPeak: true } : {}),
    parameters: {
      ...spec.parameters,
      model: given.newVersion,
      suite: given.suite,
      producer: jobProducer(given.bookingId),
      demotedAtTick: formatRfc3339(given.demotedTickMs),
    },
  };
}
