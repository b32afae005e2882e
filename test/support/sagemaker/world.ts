import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AttemptSpec, PoolFlavour, Provider } from '../../../providers/provider.ts';
import { openProvider } from '../../../providers/registry.ts';
import sageMaker from '../../../providers/sagemaker/adapter.ts';
import type { SageMakerConfig } from '../../../providers/sagemaker/config.ts';
import { type Script, scriptedState } from '../cloud/container.ts';
import { scriptedSpecs } from '../cloud/scripted-specs.ts';
import { SteppedClock } from '../cloud/stepped-clock.ts';
import { Bucket } from './bucket.ts';
import { SageMakerSimulator, type SimulatorOptions } from './simulator.ts';
import type { Container } from './training-job.ts';

function scripted(scripts: ReadonlyMap<string, Script>): Container {
  return (run, nowMs) => scriptedState(scripts.get(run.request.TrainingJobName!) ?? {}, run, nowMs);
}

export const A10G: PoolFlavour = {
  flavour: 'a10g',
  resource: 'gpu',
  spot: false,
  currency: 'EUR',
  centsPerUnitHour: 142n,
};
const FLAVOURS: SageMakerConfig['flavours'] = [
  { name: 'a10g', instanceType: 'ml.g5.12xlarge', gpus: 4, cpus: 48, memoryGib: 192, instances: 8 },
  {
    name: 'a10g-spot',
    instanceType: 'ml.g5.12xlarge',
    gpus: 4,
    cpus: 48,
    instances: 8,
    spot: true,
    centsPerUnitHour: 50,
  },
  { name: 'm5', instanceType: 'ml.m5.xlarge', gpus: 0, cpus: 4, instances: 3, centsPerUnitHour: 6 },
];

export interface SageMakerWorld {
  readonly clock: SteppedClock;
  readonly simulator: SageMakerSimulator;
  readonly bucket: Bucket;
  readonly provider: Provider;
  readonly signal: AbortSignal;
  /** Another instance on the same service. */
  open(config?: Partial<SageMakerConfig>): Promise<Provider>;
  spec(fields?: Partial<AttemptSpec>, script?: Script): AttemptSpec;
  close(): Promise<void>;
}

/** A simulator, a bucket, and a provider on them whose clock is the test's. */
export async function sageMakerWorld(
  options: Partial<Pick<SimulatorOptions, 'delays' | 'quotas' | 'pageSize'>> = {},
  config: Partial<SageMakerConfig> = {},
): Promise<SageMakerWorld> {
  const clock = new SteppedClock();
  const stateDir = await mkdtemp(join(tmpdir(), 'merit-sagemaker-'));
  const bucket = await new Bucket().start();
  const scripts = new Map<string, Script>();
  const simulator = await new SageMakerSimulator({ ...options, clock, stateDir, container: scripted(scripts) }).start();
  const opened: Provider[] = [];
  const open = async (fields: Partial<SageMakerConfig> = {}) => {
    const whole = simulator.config({ s3Endpoint: bucket.url, flavours: FLAVOURS, ...config, ...fields });
    const provider = await openProvider(sageMaker as never, whole, { stateDir, clock, flavours: [A10G] });
    opened.push(provider);
    return provider;
  };
  return {
    clock,
    simulator,
    bucket,
    provider: await open(),
    signal: new AbortController().signal,
    open,
    spec: scriptedSpecs('a10g', scripts),
    close: async () => {
      await Promise.all(opened.map((one) => one.close()));
      await Promise.all([simulator.close(), bucket.close()]);
      await rm(stateDir, { recursive: true, force: true });
    },
  };
}
