import { checkedOptions } from '../cloud/option-check.ts';
import { type AttemptSpec, checkAttempt, type Handle, isProviderError, ProviderError } from '../provider.ts';
import { type Cluster, FIELD_MANAGER, isTaken } from './cluster.ts';
import type { KubernetesConfig } from './config.ts';
import type { Flavour } from './flavour.ts';
import { checkAllowed, jobOptionsRefusals, type KubernetesJobOptions } from './job-options.ts';
import type { Jobs } from './jobs.ts';
import {
  checkResources,
  type Job,
  jobManifest,
  podManifest,
  STARTED,
  secretManifest,
  secretNames,
  serviceManifest,
} from './manifest.ts';
import { isOver, PROVIDER_KIND } from './observation.ts';
import { checkName, checkOwner, handleOf, type Owner, ownerIn, ownerOf } from './ownership.ts';
import { type SecretFiles, startFiles } from './start.ts';

/** Others may change the Job meanwhile: its controller does so once or twice. */
const START_TRIES = 8;

export interface SubmitSettings {
  readonly config: KubernetesConfig;
  readonly cluster: Cluster;
  readonly jobs: Jobs;
  readonly flavours: readonly Flavour[];
}

/**
 * Make the Job suspended, which claims the name; make what it needs, owned by it; start it. A repetition goes on where an earlier one broke off, and what broke
 * off is told as absent. Throws ProviderError; what it refuses leaves nothing.
 */
export async function submitAttempt(settings: SubmitSettings, spec: AttemptSpec, signal: AbortSignal): Promise<Handle> {
  const { jobs, config } = settings;
  const { flavour, options } = checkedSpec(settings, spec);
  const owner = ownerOf(spec, PROVIDER_KIND);
  const earlier = await jobs.find(spec.key, signal);
  if (earlier !== undefined) checkOwner('Job', spec.key, owner, ownerIn(earlier));
  if (earlier !== undefined && isTakenUp(earlier)) return handleOf(PROVIDER_KIND, earlier);
  const files = await startFiles(spec, signal);
  const manifest = jobManifest(spec, owner, flavour, options, config, files.length);
  if (earlier === undefined) await tryPod(settings, manifest, spec.key, signal);
  let job = earlier;
  try {
    job ??= await claimed(settings, manifest, spec.key, owner, signal);
    if (isTakenUp(job)) return handleOf(PROVIDER_KIND, job);
    await makeNeeds(settings, job, spec, files, signal);
  } catch (error) {
    throw await withoutEffect(settings, job, error, signal);
  }
  await start(settings, job, signal);
  return handleOf(PROVIDER_KIND, job);
}

/** Started, by whichever submit; or about to be gone, which only a release does. */
function isTakenUp(job: Job): boolean {
  return job.metadata.annotations?.[STARTED] !== undefined || isOver(job);
}

/** What refuses a pod (quota, admission, rights) would refuse it after the submit, where nobody is told: so one is tried, and not kept. */
async function tryPod(
  { cluster, jobs }: SubmitSettings,
  manifest: object,
  key: string,
  signal: AbortSignal,
): Promise<void> {
  await cluster.ask({
    method: 'POST',
    path: await jobs.corePath('pods'),
    query: { dryRun: 'All', fieldManager: FIELD_MANAGER },
    body: podManifest(manifest, key),
    doing: `trying a pod of ${key}`,
    signal,
  });
}

/** Makes the Job, or finds that of another submit of this attempt. */
async function claimed(
  { cluster, jobs }: SubmitSettings,
  manifest: object,
  key: string,
  owner: Owner,
  signal: AbortSignal,
): Promise<Job> {
  const path = await jobs.path();
  const query = { fieldManager: FIELD_MANAGER };
  const doing = `creating the Job ${key}`;
  const made = await cluster.ask<Job>(
    { method: 'POST', path, query, body: manifest, doing, changes: true, signal },
    isTaken,
  );
  if (made !== undefined) return made;
  const found = await jobs.find(key, signal);
  if (found === undefined) throw new ProviderError('transient', `the Job ${key} was there, and is gone`);
  checkOwner('Job', key, owner, ownerIn(found));
  return found;
}

async function makeNeeds(
  settings: SubmitSettings,
  job: Job,
  spec: AttemptSpec,
  files: readonly SecretFiles[],
  signal: AbortSignal,
): Promise<void> {
  const names = secretNames(spec.key, files.length);
  for (const [i, name] of names.entries())
    await make(settings, 'secrets', name, secretManifest(job, name, files[i] ?? {}), job, signal);
  if ((spec.nodes ?? 1) > 1) await make(settings, 'services', spec.key, serviceManifest(job), job, signal);
}

/** Of two submits at once one makes it; what somebody else has made is not used. */
async function make(
  { cluster, jobs }: SubmitSettings,
  resource: 'secrets' | 'services',
  name: string,
  body: object,
  job: Job,
  signal: AbortSignal,
): Promise<void> {
  const query = { fieldManager: FIELD_MANAGER };
  const doing = `creating ${name} in ${resource}`;
  const path = await jobs.corePath(resource);
  const made = await cluster.ask({ method: 'POST', path, query, body, doing, changes: true, signal }, isTaken);
  if (made !== undefined) return;
  type Owned = { readonly metadata: { readonly ownerReferences?: readonly { readonly uid?: string }[] } };
  const found = await cluster.find<Owned>(`${path}/${name}`, `looking at ${name} in ${resource}`, signal);
  if (found?.metadata.ownerReferences?.some(({ uid }) => uid === job.metadata.uid)) return;
  // It may be that of an earlier Job of the name, which is being collected.
  throw new ProviderError(
    'transient',
    `${name} in ${resource} is not this attempt's: delete it, or wait until it is gone`,
  );
}

/** Once: of two submits at once the later finds it started, also where it has ended meanwhile. With a queue the queue lets it go. */
async function start({ cluster, jobs, config }: SubmitSettings, job: Job, signal: AbortSignal): Promise<void> {
  const key = job.metadata.name;
  const path = await jobs.path(key);
  let now: Job | undefined = job;
  for (let i = 0; i < START_TRIES; i++) {
    if (now === undefined || now.metadata.uid !== job.metadata.uid)
      throw new ProviderError('transient', `the Job ${key} was removed before it started`);
    if (isTakenUp(now)) return;
    const body = {
      metadata: { resourceVersion: now.metadata.resourceVersion, annotations: { [STARTED]: 'true' } },
      ...(config.queue === undefined ? { spec: { suspend: false } } : {}),
    };
    const started = await cluster.merge<Job>(path, body, `starting the Job ${key}`, signal);
    if (started !== undefined) return;
    now = await jobs.find(key, signal);
  }
  throw new ProviderError('transient', `the Job ${key} is changed all the time`, { effect: 'unknown' });
}

/**
 * Before its start nothing of an attempt runs, whatever became of the calls: what they made holds no machine, and waits for a repetition, or for the sweep that
 * finds it by its tag. After a refusal no repetition comes, so that it is removed at once, if that can be.
 */
async function withoutEffect(
  { cluster, jobs }: SubmitSettings,
  job: Job | undefined,
  error: unknown,
  signal: AbortSignal,
): Promise<unknown> {
  if (!isProviderError(error)) return error;
  const { code, message, retryAfterMs } = error;
  if (job !== undefined && code !== 'transient') {
    const { name, uid } = job.metadata;
    await cluster.remove(await jobs.path(name), uid, `removing the Job ${name}`, signal).catch(() => {});
  }
  return new ProviderError(code, message, {
    effect: 'none',
    cause: error,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

function checkedSpec(
  { config, flavours }: SubmitSettings,
  spec: AttemptSpec,
): { readonly flavour: Flavour; readonly options: KubernetesJobOptions } {
  checkAttempt(spec);
  const { nodes = 1 } = spec;
  // `-3` of a gang's pod stands in a name, too.
  checkName(spec.key, nodes === 1 ? 0 : `-${nodes - 1}`.length);
  const flavour = flavours.find((one) => one.name === spec.flavour);
  if (flavour === undefined) throw new ProviderError('invalid', `this pool has no flavour ${spec.flavour}`);
  checkResources(spec, flavour);
  const options = checkedOptions<KubernetesJobOptions>(spec.options?.[PROVIDER_KIND], jobOptionsRefusals);
  checkAllowed(config, options);
  return { flavour, options };
}
