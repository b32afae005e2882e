import { RefusedInput } from '../../core/refusal.ts';
import { type Cluster, FIELD_MANAGER, isTaken } from '../kubernetes/cluster.ts';
import { checkOwner, handleOf, type Owner, ownerIn, ownerOf } from '../kubernetes/ownership.ts';
import { type AttemptSpec, checkAttempt, type Handle, ProviderError } from '../provider.ts';
import { type Code, codeMapNames, codeMaps, packCode } from './code-volume.ts';
import type { Flavour, KubeRayConfig } from './config.ts';
import { type KubeRayJobOptions, kubeRayJobOptions } from './job-options.ts';
import { checkFits, rayJobOf } from './manifest.ts';
import { checkName, PROVIDER_KIND } from './ownership.ts';
import { checkQuota } from './quota.ts';
import { CONFIG_MAPS, RAY_JOBS, type RayJobObject } from './ray-job.ts';

export interface SubmitSettings {
  readonly config: KubeRayConfig;
  readonly cluster: Cluster;
  readonly flavours: readonly Flavour[];
}

/**
 * Look, carry the code, create. The look makes a repeated key cheap; the name itself is exclusive in its namespace, and KubeRay writes down the name of
 * the cluster before it makes one, so that no lost reply makes two. Throws ProviderError.
 */
export async function submitAttempt(settings: SubmitSettings, spec: AttemptSpec, signal: AbortSignal): Promise<Handle> {
  const { flavour, options } = checkedSpec(settings, spec);
  const { cluster, config } = settings;
  const namespace = await cluster.namespace();
  const owner = ownerOf(spec, PROVIDER_KIND);
  const path = `${RAY_JOBS(namespace)}/${spec.key}`;
  const earlier = await cluster.find<RayJobObject>(path, `looking for the RayJob ${spec.key}`, signal);
  if (earlier !== undefined) return adopted(spec.key, owner, earlier);
  await checkQuota(cluster, namespace, spec, flavour, signal);
  const code = await packCode(spec.workdir, (spec.nodes ?? 1) > 1, signal);
  await carryCode(settings, namespace, spec.key, owner, code, signal);
  const made = await cluster.ask<RayJobObject>(
    {
      method: 'POST',
      path: RAY_JOBS(namespace),
      query: { fieldManager: FIELD_MANAGER, fieldValidation: 'Strict' },
      body: rayJobOf(spec, flavour, options, code, config),
      doing: `making the RayJob ${spec.key}`,
      changes: true,
      signal,
    },
    isTaken,
  );
  if (made?.metadata?.uid !== undefined) {
    await giveCodeAway(settings, namespace, spec.key, code, made, signal);
    return handleOf(PROVIDER_KIND, made);
  }
  if (made !== undefined)
    throw new ProviderError('transient', `Kubernetes told no RayJob after making ${spec.key}`, { effect: 'unknown' });
  return whoseNameItIs(settings, path, spec.key, owner, signal);
}

/** Another submit was first: of this attempt, or of somebody else. */
async function whoseNameItIs(
  { cluster }: SubmitSettings,
  path: string,
  key: string,
  owner: Owner,
  signal: AbortSignal,
): Promise<Handle> {
  const text = `the namespace has a RayJob ${key} already`;
  let job: RayJobObject | undefined;
  try {
    job = await cluster.find<RayJobObject>(path, `looking for the RayJob ${key}`, signal);
  } catch (cause) {
    throw new ProviderError('transient', `${text}; a look at it failed`, { effect: 'unknown', cause });
  }
  if (job !== undefined) return adopted(key, owner, job);
  throw new ProviderError('transient', `${text}, and then it was gone`, { effect: 'unknown' });
}

/** The handle of the RayJob of this name, if it is this attempt. */
function adopted(key: string, owner: Owner, job: RayJobObject): Handle {
  checkOwner('RayJob', key, owner, ownerIn(job));
  return handleOf(PROVIDER_KIND, job);
}

/** Before the RayJob, whose pods wait for it; what a submit leaves that ends here is found by its label. */
async function carryCode(
  { cluster }: SubmitSettings,
  namespace: string,
  key: string,
  owner: Owner,
  code: Code,
  signal: AbortSignal,
): Promise<void> {
  for (const map of codeMaps(key, owner, code)) {
    const path = `${CONFIG_MAPS(namespace)}/${map.metadata.name}`;
    await cluster.apply(path, map, `carrying the code of ${key}`, signal);
  }
}

/** It goes with the RayJob, whoever deletes that. Where this fails it is deleted by its label. */
async function giveCodeAway(
  { cluster }: SubmitSettings,
  namespace: string,
  key: string,
  code: Code,
  { metadata: { uid, name } }: RayJobObject,
  signal: AbortSignal,
): Promise<void> {
  const ownerReferences = [{ apiVersion: 'ray.io/v1', kind: 'RayJob', name, uid }];
  for (const map of codeMapNames(key, code)) {
    const path = `${CONFIG_MAPS(namespace)}/${map}`;
    await cluster
      .merge(path, { metadata: { ownerReferences } }, `giving away the code of ${key}`, signal)
      .catch(() => {});
  }
}

function checkedSpec(
  { flavours }: SubmitSettings,
  spec: AttemptSpec,
): { readonly flavour: Flavour; readonly options: KubeRayJobOptions } {
  checkAttempt(spec);
  checkName(spec.key);
  const flavour = flavours.find((one) => one.name === spec.flavour);
  if (flavour === undefined) throw new ProviderError('invalid', `this pool has no flavour ${spec.flavour}`);
  checkFits(spec, flavour);
  try {
    return { flavour, options: kubeRayJobOptions(spec.options?.[PROVIDER_KIND]) };
  } catch (error) {
    if (error instanceof RefusedInput) throw new ProviderError('invalid', error.message);
    throw error;
  }
}
