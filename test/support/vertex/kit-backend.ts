import { defineTestBackend, type PoolFlavour, type TestBackend } from '../../../providers/provider.ts';
import type { VertexConfig } from '../../../providers/vertex/config.ts';
import { PREEMPTED } from './custom-job.ts';
import { kitContainer } from './kit-container.ts';
import { VertexSimulator } from './simulator.ts';

const CPUS = 4;
const FLAVOUR: PoolFlavour = { flavour: 'n1', resource: 'cpu', spot: false, currency: 'USD', centsPerUnitHour: 6n };

/**
 * The simulator as the conformance kit drives it. It has no `denyCapacity`: the service takes a job that it has no machine for, and fails it later. Nor has
 * it `showStatus`: states are numbers on the wire (test/unit/providers/vertex/life.test.ts shows one that is not known).
 */
class KitBackend implements TestBackend {
  readonly flavour = FLAVOUR;
  readonly cpuMilli = BigInt(CPUS) * 1000n;
  readonly config: VertexConfig;
  readonly pageSize: number;
  readonly #simulator: VertexSimulator;
  readonly #clock: { now(): number };

  constructor(simulator: VertexSimulator, clock: { now(): number }) {
    this.#simulator = simulator;
    this.#clock = clock;
    this.pageSize = simulator.pageSize;
    this.config = simulator.config({
      flavours: [{ name: FLAVOUR.flavour, machineType: 'n1-standard-4', gpus: 0, cpus: CPUS, machines: 64 }],
    });
  }

  close(): Promise<void> {
    return this.#simulator.close();
  }

  live(key: string): number {
    return this.#simulator.of(key).filter((job) => !job.isOver).length;
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
    this.#simulator.http.hangs = true;
  }

  goAway(): Promise<void> {
    return this.#simulator.goAway();
  }

  refuse(text: string): void {
    this.#simulator.faults.refusal = text;
  }

  throttle(retryAfterMs: number): void {
    this.#simulator.faults.retryAfterMs = retryAfterMs;
    this.#simulator.http.throttleMs = retryAfterMs;
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
    this.#simulator.faults.queueMs = ms;
  }

  tearList(): void {
    this.#simulator.faults.tearsList = true;
  }

  skewClock(ms: number): void {
    this.#simulator.skewMs = ms;
  }

  async heal(): Promise<void> {
    this.#simulator.faults = {};
    this.#simulator.http.hangs = false;
    this.#simulator.http.throttleMs = undefined;
    this.#simulator.skewMs = 0;
    await this.#simulator.renewCredentials();
    await this.#simulator.listen();
  }

  plantForeign(key: string): void {
    this.#simulator.plant({
      displayName: key,
      labels: {},
      jobSpec: {
        workerPoolSpecs: [
          {
            machineSpec: { machineType: 'n1-standard-4' },
            replicaCount: 1,
            containerSpec: { imageUri: 'somebody/else:1', command: [] },
          },
        ],
        scheduling: {
          timeout: { seconds: 86_400 },
          restartJobOnWorkerRestart: false,
          disableRetries: false,
          strategy: 'STANDARD',
        },
      },
    });
  }

  preempt(key: string): void {
    this.#simulator.job(key).fail(this.#clock.now(), PREEMPTED);
  }

  forget(key: string): void {
    this.#simulator.forget(key);
  }
}

export const vertexKitBackend = defineTestBackend({
  time: 'virtual',
  start: async ({ clock, stateDir }) => {
    const objects = () => simulator.http.objects;
    const simulator = await new VertexSimulator({ clock, stateDir, container: kitContainer(objects) }).start();
    return new KitBackend(simulator, clock);
  },
});
