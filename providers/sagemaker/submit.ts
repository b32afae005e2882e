import type { Accepted } from '../cloud/accepted.ts';
import { checkedOptions } from '../cloud/option-check.ts';
import { checkOwner, type Owner, ownerOf } from '../cloud/owner.ts';
import { checkFits } from '../cloud/rented-flavours.ts';
import { type AttemptSpec, checkAttempt, type Handle, ProviderError } from '../provider.ts';
import type { Clients } from './clients.ts';
import type { Flavour, SageMakerConfig } from './config.ts';
import { faultName } from './errors.ts';
import { jobOptionsRefusals, type SageMakerJobOptions } from './job-options.ts';
import { checkName, handleOf, ownerIn, PROVIDER_KIND } from './ownership.ts';
import { checkAllowed, requestOf } from './request.ts';
import type { Staging } from './staging.ts';
import type { TrainingJobs } from './training-jobs.ts';

export interface SubmitSettings {
  readonly config: SageMakerConfig;
  readonly clients: Clients;
  readonly jobs: TrainingJobs;
  readonly staging: Staging;
  readonly flavours: readonly Flavour[];
  readonly accepted: Accepted;
}

/**
 * Look, stage, create. The look makes a repeated key cheap; the name itself is exclusive in SageMaker, so no race makes two. Throws ProviderError.
 */
export async function submitAttempt(settings: SubmitSettings, spec: AttemptSpec, signal: AbortSignal): Promise<Handle> {
  const { flavour, options } = checkedSpec(settings, spec);
  const owner = ownerOf(spec, PROVIDER_KIND);
  const earlier = await settings.jobs.find(spec.key, signal);
  if (earlier !== undefined) return adopted(spec.key, owner, earlier);
  const staged = await settings.staging.stage(spec, signal);
  const request = requestOf(spec, flavour, options, staged, settings.config);
  let isTaken = false;
  const made = await settings.clients.ask(
    { doing: `creating the training job ${spec.key}`, changes: true, signal },
    (sdk, client, sent) => client.send(new sdk.CreateTrainingJobCommand(request), sent),
    (error) => {
      isTaken = faultName(error) === 'ResourceInUse';
      return isTaken;
    },
  );
  if (isTaken) return whoseNameItIs(settings, spec.key, owner, signal);
  if (made?.TrainingJobArn === undefined)
    throw new ProviderError('transient', `SageMaker told no ARN of ${spec.key}`, { effect: 'unknown' });
  const handle = handleOf(spec.key, made.TrainingJobArn);
  settings.accepted.add(spec.key, owner, handle);
  return handle;
}

/** Another submit was first: of this attempt, or of somebody else. */
async function whoseNameItIs(
  { jobs, accepted }: SubmitSettings,
  key: string,
  owner: Owner,
  signal: AbortSignal,
): Promise<Handle> {
  const text = `SageMaker has a training job ${key} already`;
  let job: Awaited<ReturnType<TrainingJobs['find']>>;
  try {
    job = await jobs.find(key, signal);
  } catch (cause) {
    throw new ProviderError('transient', `${text}; a look at it failed`, { effect: 'unknown', cause });
  }
  if (job !== undefined) return adopted(key, owner, job);
  const known = accepted.get(key, Number.POSITIVE_INFINITY);
  // Merit looks again before it repeats the key, and by then SageMaker tells whose it is.
  if (known === undefined)
    throw new ProviderError('transient', `${text}, and does not tell of it yet`, { effect: 'unknown' });
  checkOwner('SageMaker', key, owner, known.owner);
  return known.handle;
}

/** The handle of the job of this name, if it is this attempt. */
function adopted(
  key: string,
  owner: Owner,
  job: { readonly TrainingJobArn: string | undefined; readonly Environment?: Record<string, string> | undefined },
): Handle {
  checkOwner('SageMaker', key, owner, ownerIn(job.Environment));
  return handleOf(key, job.TrainingJobArn);
}

function checkedSpec(
  { config, flavours }: SubmitSettings,
  spec: AttemptSpec,
): { readonly flavour: Flavour; readonly options: SageMakerJobOptions } {
  checkAttempt(spec);
  checkName(spec.key);
  const flavour = flavours.find((one) => one.name === spec.flavour);
  if (flavour === undefined) throw new ProviderError('invalid', `this pool has no flavour ${spec.flavour}`);
  checkFits(spec, flavour, flavour.instanceType, flavour.instances);
  const options = checkedOptions<SageMakerJobOptions>(spec.options?.[PROVIDER_KIND], jobOptionsRefusals);
  checkAllowed(config, options);
  return { flavour, options };
}
