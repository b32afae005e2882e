import type { SubmitRequest } from 'ray-job-submission-client';
import { type AttemptSpec, ProviderError } from '../provider.ts';
import type { RayFlavour } from './config.ts';
import type { RayJobOptions } from './job-options.ts';
import { metadataOf } from './ownership.ts';
import { rayEnvironment } from './shell-environment.ts';

/** The sliver of a flavour's custom resource that steers a job to its nodes; Ray counts in ten-thousandths. */
const STEERING_AMOUNT = 0.001;
/** What the driver of a gang needs beyond its ranks' grace: to hear of their ends, and to say so. */
const GANG_FAREWELL_SECONDS = 20;
/** Runs from the package that `gang/` is sent as. A fixed text: what it is to run comes in MERIT_GANG. */
export const GANG_ENTRYPOINT = 'exec python -m merit_gang';

export interface RequestSettings {
  readonly stopGraceSeconds: number;
  readonly gangStartSeconds: number;
}

/** Names of uploaded packages, as URIs. */
export interface Packages {
  readonly workingDir: string | undefined;
  /** Where the attempt is a gang. */
  readonly gangDriver: string | undefined;
}

/** What Ray is sent for an attempt. One of several nodes is sent as its driver, which asks Ray for the nodes itself. */
export function requestOf(
  spec: AttemptSpec,
  flavour: RayFlavour,
  options: RayJobOptions,
  packages: Packages,
  settings: RequestSettings,
): SubmitRequest {
  const labels = { ...flavour.labels, ...options.labels };
  const common = {
    submissionId: spec.key,
    metadata: metadataOf(spec),
    workingDir: packages.workingDir,
    ...(options.runtime_env === undefined ? {} : { runtimeEnv: { ...options.runtime_env } }),
  };
  if (packages.gangDriver !== undefined) {
    const gang = gangOf(spec, flavour, options, labels, settings);
    checkVariables(gang.env ?? {});
    return { ...common, ...gang, pyModules: [packages.gangDriver] };
  }
  const { gpuMilli, cpuMilli, memoryBytes } = spec.resources;
  const { env, prefix } = rayEnvironment({
    ...ALONE,
    SKYPILOT_NUM_GPUS_PER_NODE: String(gpuMilli / 1000n),
    ...spec.env,
  });
  checkVariables(env);
  return {
    ...common,
    entrypoint: `${prefix}${spec.entrypoint}`,
    // The job's supervisor reads its own grace from here; Ray's default of 3 s is too short for a checkpoint.
    env: { ...env, RAY_JOB_STOP_WAIT_TIME_S: String(settings.stopGraceSeconds) },
    numGpus: Number(gpuMilli) / 1000,
    numCpus: Number(cpuMilli) / 1000,
    ...(memoryBytes > 0n ? { memoryBytes: Number(memoryBytes) } : {}),
    ...(flavour.resource === undefined ? {} : { resources: { [flavour.resource]: STEERING_AMOUNT } }),
    ...(Object.keys(labels).length === 0 ? {} : { labelSelector: labels }),
  };
}

/** Linux starts no process with a longer variable, its name counted; what is carried in base64 gets there first. */
const VARIABLE_LIMIT_BYTES = 131_071;

function checkVariables(env: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(env)) {
    if (Buffer.byteLength(`${name}=${value}`) < VARIABLE_LIMIT_BYTES) continue;
    const text = `${name} has ${Buffer.byteLength(value)} bytes, and no process can carry that: say less in envs and parameters, or put it into a file of the workdir`;
    throw new ProviderError('invalid', text);
  }
}

/** So that a command written for several nodes also runs on one; the names beside ours are SkyPilot's. */
const ALONE = {
  MERIT_NODE_RANK: '0',
  MERIT_NODE_IPS: '127.0.0.1',
  MERIT_HEAD_IP: '127.0.0.1',
  SKYPILOT_NODE_RANK: '0',
  SKYPILOT_NUM_NODES: '1',
  SKYPILOT_NODE_IPS: '127.0.0.1',
};

/** The driver asks for nothing itself, so Ray runs it on the head; its nodes hold all that the attempt was booked with. */
function gangOf(
  spec: AttemptSpec,
  flavour: RayFlavour,
  options: RayJobOptions,
  labels: Readonly<Record<string, string>>,
  settings: RequestSettings,
): Pick<SubmitRequest, 'entrypoint' | 'env'> {
  const { gpuMilli, cpuMilli, memoryBytes } = spec.resources;
  const resources = {
    ...(cpuMilli > 0n ? { CPU: Number(cpuMilli) / 1000 } : {}),
    ...(gpuMilli > 0n ? { GPU: Number(gpuMilli) / 1000 } : {}),
    ...(memoryBytes > 0n ? { memory: Number(memoryBytes) } : {}),
    ...(flavour.resource === undefined ? {} : { [flavour.resource]: STEERING_AMOUNT }),
  };
  if (Object.keys(resources).length === 0)
    throw new ProviderError('invalid', 'the nodes of a gang ask for nothing: book cpus or gpus for each');
  const order = {
    nodes: spec.nodes,
    command: spec.entrypoint,
    env: spec.env,
    resources,
    labels,
    strategy: options.spread === 'strict' ? 'STRICT_SPREAD' : 'SPREAD',
    startSeconds: settings.gangStartSeconds,
    graceSeconds: settings.stopGraceSeconds,
  };
  return {
    entrypoint: GANG_ENTRYPOINT,
    env: {
      // Base64: Ray expands what looks like a variable in a value.
      MERIT_GANG: Buffer.from(JSON.stringify(order), 'utf8').toString('base64'),
      RAY_JOB_STOP_WAIT_TIME_S: String(settings.stopGraceSeconds + GANG_FAREWELL_SECONDS),
    },
  };
}
