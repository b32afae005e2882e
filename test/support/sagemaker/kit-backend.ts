import { defineTestBackend, type PoolFlavour, type TestBackend } from '../../../providers/provider.ts';
import type { SageMakerConfig } from '../../../providers/sagemaker/config.ts';
import { Bucket } from './bucket.ts';
import { kitContainer } from './kit-container.ts';
import { SageMakerSimulator } from './simulator.ts';
import { INTERNAL_REASON } from './training-job.ts';

const CPUS = 4;
const FLAVOUR: PoolFlavour = {
  flavour: 'm5',
  resource: 'cpu',
  spot: false,
  currency: 'USD',
  centsPerUnitHour: 6n,
};

/** The simulator as the conformance kit drives it. It has no `denyCapacity`: the service takes a job that it has no machine for, and fails it later. */
class KitBackend implements TestBackend {
  readonly flavour = FLAVOUR;
  readonly cpuMilli = BigInt(CPUS) * 1000n;
  readonly config: SageMakerConfig;
  readonly pageSize: number;
  readonly #simulator: SageMakerSimulator;
  readonly #bucket: Bucket;
  readonly #clock: { now(): number };

  constructor(simulator: SageMakerSimulator, bucket: Bucket, clock: { now(): number }) {
    this.#simulator = simulator;
    this.#bucket = bucket;
    this.#clock = clock;
    this.pageSize = simulator.pageSize;
    this.config = simulator.config({
      s3Endpoint: bucket.url,
      flavours: [{ name: FLAVOUR.flavour, instanceType: 'ml.m5.xlarge', gpus: 0, cpus: CPUS, instances: 64 }],
    });
  }

  async close(): Promise<void> {
    await Promise.all([this.#simulator.close(), this.#bucket.close()]);
  }

  live(key: string): number {
    const job = this.#simulator.jobs.get(key);
    job?.goOn(this.#clock.now());
    return job === undefined || job.isOver ? 0 : 1;
  }

  loseReply(): void {
    this.#simulator.nextReply = 'lost';
  }

  stallReply(): void {
    this.#simulator.nextReply = 'stalled';
  }

  tearReply(): void {
    this.#simulator.nextReply = 'torn';
  }

  hang(): void {
    this.#simulator.faults.hangs = true;
  }

  goAway(): Promise<void> {
    return this.#simulator.close();
  }

  refuse(text: string): void {
    this.#simulator.faults.refusal = text;
  }

  throttle(retryAfterMs: number): void {
    this.#simulator.faults.retryAfterMs = retryAfterMs;
  }

  expireAuth(): void {
    this.#simulator.expireCredentials();
  }

  denyQuota(): void {
    this.#simulator.faults.overQuota = true;
  }

  hideNew(forMs: number): void {
    this.#simulator.faults.hideMs = forMs;
  }

  slowStart(ms: number): void {
    this.#simulator.faults.startMs = ms;
  }

  tearList(): void {
    this.#simulator.faults.tearsList = true;
  }

  showStatus(word: string): void {
    this.#simulator.faults.word = word;
  }

  skewClock(ms: number): void {
    this.#simulator.skewMs = ms;
  }

  async heal(): Promise<void> {
    this.#simulator.faults = {};
    this.#simulator.skewMs = 0;
    await this.#simulator.renewCredentials();
    await this.#simulator.listen();
  }

  plantForeign(key: string): void {
    this.#simulator.plant({
      TrainingJobName: key,
      AlgorithmSpecification: { TrainingImage: 'somebody/else:1', TrainingInputMode: 'File' },
      RoleArn: this.config.roleArn,
      OutputDataConfig: { S3OutputPath: 's3://somebody/else' },
      ResourceConfig: { InstanceType: 'ml.m5.xlarge', InstanceCount: 1, VolumeSizeInGB: 1 },
      StoppingCondition: { MaxRuntimeInSeconds: 86_400 },
    });
  }

  /** Its machine goes away: SageMaker puts machines of spot jobs in their place by itself, so that this is what is left to be told. */
  preempt(key: string): void {
    this.#simulator.job(key).fail(this.#clock.now(), INTERNAL_REASON);
  }

  forget(key: string): void {
    this.#simulator.jobs.delete(key);
  }
}

export const sageMakerKitBackend = defineTestBackend({
  time: 'virtual',
  start: async ({ clock, stateDir }) => {
    const bucket = await new Bucket().start();
    const simulator = await new SageMakerSimulator({ clock, stateDir, container: kitContainer(bucket) }).start();
    return new KitBackend(simulator, bucket, clock);
  },
});
