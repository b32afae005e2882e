import type { Accepted } from '../cloud/accepted.ts';
import { checkedOptions } from '../cloud/option-check.ts';
import { checkOwner, type Owner, ownerOf } from '../cloud/owner.ts';
import { checkFits } from '../cloud/rented-flavours.ts';
import { type AttemptSpec, checkAttempt, type Handle, ProviderError } from '../provider.ts';
import type { Flavour, VertexConfig } from './config.ts';
import type { CustomJobs } from './custom-jobs.ts';
import { jobOptionsRefusals, type VertexJobOptions } from './job-options.ts';
import { checkLabels, handleOf, labelled, ownerIn, PROVIDER_KIND } from './ownership.ts';
import { checkAllowed, requestOf } from './request.ts';
import type { Staging } from './staging.ts';
import type { CustomJob } from './wire.ts';

export interface SubmitSettings {
  readonly config: VertexConfig;
  readonly jobs: CustomJobs;
  readonly staging: Staging;
  readonly flavours: readonly Flavour[];
  readonly accepted: Accepted;
  /** So long a job may be there and not be seen. */
  readonly windowMs: number;
}

/**
 * Look, stage, create, look again. Vertex AI takes any number of jobs for a key: the first look keeps a repeated one from making another, and the last one
 * settles a race with somebody else's submit, from which all who look draw the same conclusion. Throws ProviderError.
 */
export async function submitAttempt(settings: SubmitSettings, spec: AttemptSpec, signal: AbortSignal): Promise<Handle> {
  const { config, jobs, staging, accepted, windowMs } = settings;
  const owner = labelled(ownerOf(spec, PROVIDER_KIND));
  const { flavour, options } = checkedSpec(settings, spec, owner);
  const earlier = await jobs.find(spec.key, signal);
  if (earlier !== undefined) return adopted(spec.key, owner, earlier);
  const known = accepted.get(spec.key, windowMs);
  if (known !== undefined) {
    checkOwner('Vertex AI', spec.key, owner, known.owner);
    return known.handle;
  }
  const start = await staging.stage(spec, signal);
  const made = await jobs.create(requestOf(spec, flavour, options, start, config), signal);
  const first = await oldest(jobs, spec.key, made, signal);
  const handle = await adoptedOr(() => jobs.cancel(made.name, signal), spec.key, owner, first);
  accepted.add(spec.key, owner, handle);
  return handle;
}

/** What was made for a key that turns out to be another attempt's is ended again. */
async function adoptedOr(undo: () => Promise<void>, key: string, owner: Owner, job: CustomJob): Promise<Handle> {
  try {
    return adopted(key, owner, job);
  } catch (conflict) {
    await undo();
    throw conflict;
  }
}

/** Of what was made now, and what somebody else made meanwhile. It was made, whatever becomes of this look. */
async function oldest(jobs: CustomJobs, key: string, made: CustomJob, signal: AbortSignal): Promise<CustomJob> {
  try {
    return (await jobs.find(key, signal)) ?? made;
  } catch {
    // Whoever looks next sees both.
    return made;
  }
}

/** The handle of this job, if it is this attempt. */
function adopted(key: string, owner: Owner, job: CustomJob): Handle {
  checkOwner('Vertex AI', key, owner, ownerIn(job));
  return handleOf(key, job.name);
}

function checkedSpec(
  { config, flavours }: SubmitSettings,
  spec: AttemptSpec,
  owner: Owner,
): { readonly flavour: Flavour; readonly options: VertexJobOptions } {
  checkAttempt(spec);
  checkLabels(spec.key, owner);
  const flavour = flavours.find((one) => one.name === spec.flavour);
  if (flavour === undefined) throw new ProviderError('invalid', `this pool has no flavour ${spec.flavour}`);
  checkFits(spec, flavour, flavour.machineType, flavour.machines);
  const options = checkedOptions<VertexJobOptions>(spec.options?.[PROVIDER_KIND], jobOptionsRefusals);
  checkAllowed(config, options);
  return { flavour, options };
}
