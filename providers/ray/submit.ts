import {
  packageUri,
  type RayJob,
  type RayJobClient,
  RayJobError,
  type SubmitRequest,
  zipFolder,
} from 'ray-job-submission-client';
import { type AttemptSpec, checkAttempt, type Handle, ProviderError } from '../provider.ts';
import { assertCouldFit, knownNodes } from './capacity.ts';
import type { RayFlavour } from './config.ts';
import { providerErrorOf } from './errors.ts';
import { findJob } from './find-job.ts';
import { adopted, handleOf, metadataOf } from './ownership.ts';

/** The sliver of a flavour's custom resource that steers a job to its nodes; Ray counts in ten-thousandths. */
const STEERING_AMOUNT = 0.001;

export interface SubmitSettings {
  readonly client: RayJobClient;
  readonly flavours: readonly RayFlavour[];
  readonly stopGraceSeconds: number;
}

/**
 * Look, then post. The look makes a repeated key cheap and keeps an earlier attempt's job findable even when the cluster has shrunk; the
 * post itself is exclusive in Ray (a second one of an id is refused), so no race makes two. Throws ProviderError.
 */
export async function submitAttempt(settings: SubmitSettings, spec: AttemptSpec, signal: AbortSignal): Promise<Handle> {
  const flavour = checkedSpec(settings.flavours, spec);
  const earlier = await lookBefore(settings.client, spec, signal);
  if (earlier !== undefined) return earlier;
  const request = await prepare(settings, spec, flavour, signal);
  try {
    await settings.client.submit(request, signal);
  } catch (error) {
    return afterFailedPost(settings.client, spec, error, signal);
  }
  return handleAfterPost(settings.client, spec, signal);
}

async function lookBefore(client: RayJobClient, spec: AttemptSpec, signal: AbortSignal): Promise<Handle | undefined> {
  const job = await findJob(client, spec.key, signal).catch((error) => {
    throw providerErrorOf(error, 'none');
  });
  return job === undefined ? undefined : adopted(spec, job);
}

/** All that can fail without a job coming to be: whatever it throws has effect none. */
async function prepare(
  settings: SubmitSettings,
  spec: AttemptSpec,
  flavour: RayFlavour,
  signal: AbortSignal,
): Promise<SubmitRequest> {
  try {
    assertCouldFit(spec, flavour, await knownNodes(settings.client, signal));
    const workingDir = spec.workdir === undefined ? undefined : await uploaded(settings.client, spec.workdir, signal);
    return requestOf(spec, flavour, settings.stopGraceSeconds, workingDir);
  } catch (error) {
    const found = providerErrorOf(error, 'none');
    if (found.effect === 'none') throw found;
    throw new ProviderError(found.code, found.message, { cause: error });
  }
}

async function uploaded(client: RayJobClient, workdir: string, signal: AbortSignal): Promise<string> {
  const zip = await zipFolder(workdir, signal);
  const name = `merit_${zip.sha256.slice(0, 40)}.zip`;
  if (!(await client.packageExists(name, signal))) await client.uploadPackage(name, zip.bytes, signal);
  return packageUri(name);
}

function requestOf(
  spec: AttemptSpec,
  flavour: RayFlavour,
  stopGraceSeconds: number,
  workingDir: string | undefined,
): SubmitRequest {
  const { gpuMilli, cpuMilli, memoryBytes } = spec.resources;
  return {
    entrypoint: spec.entrypoint,
    submissionId: spec.key,
    metadata: metadataOf(spec),
    // The job's supervisor reads its own grace from here; Ray's default of 3 s is too short for a checkpoint.
    env: { ...spec.env, RAY_JOB_STOP_WAIT_TIME_S: String(stopGraceSeconds) },
    workingDir,
    numGpus: Number(gpuMilli) / 1000,
    numCpus: Number(cpuMilli) / 1000,
    ...(memoryBytes > 0n ? { memoryBytes: Number(memoryBytes) } : {}),
    ...(flavour.resource === undefined ? {} : { resources: { [flavour.resource]: STEERING_AMOUNT } }),
  };
}

/** The post failed, or said that the id exists, or its outcome is unknown: only what Ray itself holds under the id decides. */
async function afterFailedPost(
  client: RayJobClient,
  spec: AttemptSpec,
  error: unknown,
  signal: AbortSignal,
): Promise<Handle> {
  const failure = providerErrorOf(error, 'unknown');
  const isDuplicate = error instanceof RayJobError && error.code === 'already_exists';
  if (!isDuplicate && failure.effect === 'none') throw failure;
  let job: RayJob | undefined;
  try {
    job = await findJob(client, spec.key, signal);
  } catch (cause) {
    throw new ProviderError('transient', `${failure.message}; a look at ${spec.key} failed too`, {
      effect: 'unknown',
      cause,
    });
  }
  if (job !== undefined) return adopted(spec, job);
  // Not there yet, but the post may still be on its way: Merit looks again before it repeats the key.
  throw new ProviderError('transient', `${failure.message}; Ray does not hold ${spec.key} now`, {
    effect: 'unknown',
    cause: error,
    ...(failure.retryAfterMs === undefined ? {} : { retryAfterMs: failure.retryAfterMs }),
  });
}

/** The uid needs a look; the post was accepted, so a failed look only costs the uid. */
async function handleAfterPost(client: RayJobClient, spec: AttemptSpec, signal: AbortSignal): Promise<Handle> {
  const job = await findJob(client, spec.key, signal).catch(() => undefined);
  return job === undefined ? handleOf(spec.key, undefined) : adopted(spec, job);
}

function checkedSpec(flavours: readonly RayFlavour[], spec: AttemptSpec): RayFlavour {
  checkAttempt(spec);
  const flavour = flavours.find((one) => one.name === spec.flavour);
  if (flavour === undefined) throw new ProviderError('invalid', `this pool has no flavour ${spec.flavour}`);
  return flavour;
}
