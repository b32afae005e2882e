import { type RayJob, type RayJobClient, RayJobError, type SubmitRequest } from 'ray-job-submission-client';
import { RefusedInput } from '../../core/refusal.ts';
import { type AttemptSpec, checkAttempt, type Handle, ProviderError } from '../provider.ts';
import { assertCouldFit } from './capacity.ts';
import type { RayFlavour } from './config.ts';
import { providerErrorOf } from './errors.ts';
import { findJob } from './find-job.ts';
import { type RayJobOptions, rayJobOptions } from './job-options.ts';
import type { Lives } from './lives.ts';
import { knownNodes, type Node, usesLabels } from './nodes.ts';
import { adopted, handleOf, PROVIDER_KIND } from './ownership.ts';
import { uploadPackages } from './packages.ts';
import { type RequestSettings, requestOf } from './request.ts';

export interface SubmitSettings extends RequestSettings {
  readonly client: RayJobClient;
  readonly lives: Lives;
  readonly flavours: readonly RayFlavour[];
}

/**
 * Look, then post. The look makes a repeated key cheap and keeps an earlier attempt's job findable even when the cluster has shrunk; the
 * post itself is exclusive in Ray (a second one of an id is refused), so no race makes two. Throws ProviderError.
 */
export async function submitAttempt(settings: SubmitSettings, spec: AttemptSpec, signal: AbortSignal): Promise<Handle> {
  const { flavour, options } = checkedSpec(settings.flavours, spec);
  // Asked for beside the look: the two are what an attempt waits for before its post.
  const nodes = knownNodes(settings.client, usesLabels(flavour, options.labels), signal);
  nodes.catch(() => {});
  const earlier = await lookBefore(settings, spec, signal);
  if (earlier !== undefined) return earlier;
  const request = await prepare(settings, spec, { flavour, options, nodes }, signal);
  try {
    await settings.client.submit(request, signal);
  } catch (error) {
    return afterFailedPost(settings, spec, error, signal);
  }
  return handleAfterPost(settings, spec, signal);
}

async function lookBefore(
  { client, lives }: SubmitSettings,
  spec: AttemptSpec,
  signal: AbortSignal,
): Promise<Handle | undefined> {
  try {
    const job = await findJob(client, spec.key, signal);
    return job === undefined ? undefined : adopted(spec, await lives.session(signal), job);
  } catch (error) {
    throw providerErrorOf(error, 'none');
  }
}

interface Place {
  readonly flavour: RayFlavour;
  readonly options: RayJobOptions;
  readonly nodes: Promise<readonly Node[]>;
}

/** All that can fail without a job coming to be: whatever it throws has effect none. */
async function prepare(
  settings: SubmitSettings,
  spec: AttemptSpec,
  { flavour, options, nodes }: Place,
  signal: AbortSignal,
): Promise<SubmitRequest> {
  try {
    assertCouldFit(spec, flavour, options, await nodes);
    const packages = await uploadPackages(settings.client, spec.workdir, (spec.nodes ?? 1) > 1, signal);
    return requestOf(spec, flavour, options, packages, settings);
  } catch (error) {
    const found = providerErrorOf(error, 'none');
    if (found.effect === 'none') throw found;
    throw new ProviderError(found.code, found.message, { cause: error });
  }
}

/** The post failed, or said that the id exists, or its outcome is unknown: only what Ray itself holds under the id decides. */
async function afterFailedPost(
  { client, lives }: SubmitSettings,
  spec: AttemptSpec,
  error: unknown,
  signal: AbortSignal,
): Promise<Handle> {
  const failure = providerErrorOf(error, 'unknown');
  const isDuplicate = error instanceof RayJobError && error.code === 'already_exists';
  if (!isDuplicate && failure.effect === 'none') throw failure;
  let job: RayJob | undefined;
  let session = '';
  try {
    [job, session] = await Promise.all([findJob(client, spec.key, signal), lives.session(signal)]);
  } catch (cause) {
    throw new ProviderError('transient', `${failure.message}; a look at ${spec.key} failed too`, {
      effect: 'unknown',
      cause,
    });
  }
  if (job !== undefined) return adopted(spec, session, job);
  // Not there yet, but the post may still be on its way: Merit looks again before it repeats the key.
  throw new ProviderError('transient', `${failure.message}; Ray does not hold ${spec.key} now`, {
    effect: 'unknown',
    cause: error,
    ...(failure.retryAfterMs === undefined ? {} : { retryAfterMs: failure.retryAfterMs }),
  });
}

/** The uid needs a look; the post was accepted, so a failed look only costs the uid. */
async function handleAfterPost(
  { client, lives }: SubmitSettings,
  spec: AttemptSpec,
  signal: AbortSignal,
): Promise<Handle> {
  const looks = [findJob(client, spec.key, signal), lives.session(signal)] as const;
  const [job, session] = await Promise.all(looks).catch(() => []);
  return job === undefined || session === undefined ? handleOf(spec.key, '', undefined) : adopted(spec, session, job);
}

function checkedSpec(
  flavours: readonly RayFlavour[],
  spec: AttemptSpec,
): { readonly flavour: RayFlavour; readonly options: RayJobOptions } {
  checkAttempt(spec);
  const flavour = flavours.find((one) => one.name === spec.flavour);
  if (flavour === undefined) throw new ProviderError('invalid', `this pool has no flavour ${spec.flavour}`);
  try {
    return { flavour, options: rayJobOptions(spec.options?.[PROVIDER_KIND]) };
  } catch (error) {
    if (error instanceof RefusedInput) throw new ProviderError('invalid', error.message);
    throw error;
  }
}
