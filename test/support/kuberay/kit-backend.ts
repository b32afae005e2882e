import type { ServerResponse } from 'node:http';
import {
  defineTestBackend,
  type PoolFlavour,
  type TestBackend,
  type TestBackendDefinition,
} from '../../../providers/provider.ts';
import { KubeRayWorld, type WorldFacts } from './world.ts';

const FLAVOUR: PoolFlavour = { flavour: 'cpu', resource: 'cpu', spot: false, currency: 'USD', centsPerUnitHour: 6n };

/**
 * A real API server with KubeRay's real operator as the conformance kit drives them, a namespace each check. It has no `denyCapacity`, for Kubernetes takes
 * what it has no room for; no slow starts and no wrong clock, which would have to be its own; and no second page, which is a list of 500.
 */
class KitBackend implements TestBackend {
  readonly flavour = FLAVOUR;
  readonly config: unknown;
  readonly #world: KubeRayWorld;
  readonly #foreign: string[] = [];

  constructor(world: KubeRayWorld) {
    this.#world = world;
    this.config = world.config();
  }

  async close(): Promise<void> {
    await this.#world.close();
  }

  async live(key: string): Promise<number> {
    const [job, clusters] = await Promise.all([
      this.#world.rayJob(key),
      this.#world.names('rayclusters.ray.io', `ray.io/originated-from-cr-name=${key}`),
    ]);
    const runs = this.#world.rays.running(key);
    const { jobStatus = '', jobDeploymentStatus = '' } = job?.status ?? {};
    const isOver = ['SUCCEEDED', 'FAILED', 'STOPPED'].includes(jobStatus) || jobDeploymentStatus === 'Failed';
    return job === undefined ? Math.max(clusters.length, runs) : isOver ? runs : Math.max(1, clusters.length, runs);
  }

  loseReply(): void {
    this.#world.front.nextReply = 'lost';
  }

  stallReply(): void {
    this.#world.front.nextReply = 'stalled';
  }

  tearReply(): void {
    this.#world.front.nextReply = 'torn';
  }

  hang(): void {
    this.#world.front.fault = () => {};
  }

  goAway(): Promise<void> {
    return this.#world.front.goAway();
  }

  refuse(text: string): void {
    this.#world.front.fault = (response) => refusal(response, 422, 'Invalid', text);
  }

  throttle(retryAfterMs: number): void {
    this.#world.front.fault = (response) => {
      response.setHeader('retry-after', String(Math.ceil(retryAfterMs / 1000)));
      refusal(response, 429, 'TooManyRequests', 'the server is busy');
    };
  }

  expireAuth(): void {
    this.#world.front.fault = (response) => refusal(response, 401, 'Unauthorized', 'Unauthorized');
  }

  async denyQuota(): Promise<void> {
    await this.#world.make(`/api/v1/namespaces/${this.#world.namespace}/resourcequotas`, {
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: { name: 'none' },
      spec: { hard: { pods: '0' } },
    });
  }

  showStatus(word: string): void {
    this.#world.front.word = word;
  }

  async heal(): Promise<void> {
    for (const key of this.#foreign.splice(0)) await this.forget(key);
    this.#world.front.fault = undefined;
    this.#world.front.nextReply = undefined;
    this.#world.front.word = undefined;
    await this.#world.front.listen();
    await this.#world.call({
      method: 'DELETE',
      path: `/api/v1/namespaces/${this.#world.namespace}/resourcequotas/none`,
    });
  }

  async plantForeign(key: string): Promise<void> {
    this.#foreign.push(key);
    const container = { name: 'ray-head', image: 'somebody/else:1' };
    await this.#world.make(`/apis/ray.io/v1/namespaces/${this.#world.namespace}/rayjobs`, {
      apiVersion: 'ray.io/v1',
      kind: 'RayJob',
      metadata: { name: key },
      spec: {
        submissionMode: 'HTTPMode',
        entrypoint: 'sleep 600',
        rayClusterSpec: {
          headGroupSpec: { rayStartParams: {}, template: { spec: { containers: [container] } } },
        },
      },
    });
  }

  /** Its head's node is taken. */
  async preempt(key: string): Promise<void> {
    const [head = ''] = await this.#world.names('pods', `merit/key=${key},ray.io/node-type=head`);
    await this.#world.pods.takeAway(head, 'PreemptionByScheduler', 'a pod of more priority needs its node');
  }

  async forget(key: string): Promise<void> {
    const path = `/apis/ray.io/v1/namespaces/${this.#world.namespace}/rayjobs/${key}`;
    const body = { metadata: { finalizers: null } };
    await this.#world.call({ method: 'DELETE', path, body: { propagationPolicy: 'Background' } });
    await this.#world.call({ method: 'PATCH', path, body, contentType: 'application/merge-patch+json' });
  }
}

function refusal(response: ServerResponse, code: number, reason: string, message: string): void {
  const body = { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, message, code };
  response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** `watches`: whether the provider is let watch; where not it asks for each thing. */
export function kubeRayKitBackend(facts: WorldFacts, watches = true): TestBackendDefinition {
  return defineTestBackend({
    time: 'real',
    start: async () => {
      const world = await new KubeRayWorld(facts).start();
      world.front.watches = watches;
      return new KitBackend(world);
    },
  });
}
