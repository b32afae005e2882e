import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KubernetesConfig } from '../../../providers/kubernetes/config.ts';
import {
  defineTestBackend,
  type PoolFlavour,
  type TestBackend,
  type TestBackendDefinition,
} from '../../../providers/provider.ts';
import { ApiProxy, SMALL_PAGE } from './api-proxy.ts';
import type { Kubelet } from './kubelet.ts';
import { type ApiFacts, ApiRefusal } from './kubelet-api.ts';
import { TestNamespace } from './namespace.ts';
import { proxyKubeconfig } from './proxy-kubeconfig.ts';

const FLAVOUR: PoolFlavour = { flavour: 'cpu', resource: 'cpu', spot: false, currency: 'USD', centsPerUnitHour: 4n };
const LOOK_MS = 50;
const QUOTA = 'none';
const HOST_LABEL = 'kubernetes.io/hostname';

/** A namespace and a node of a real cluster, as the conformance kit drives them. */
class KitBackend implements TestBackend {
  readonly flavour = FLAVOUR;
  readonly cpuMilli = 100n;
  readonly pageSize = SMALL_PAGE;
  readonly config: KubernetesConfig;
  readonly #place: TestNamespace;
  readonly #node: Kubelet;
  readonly #proxy: ApiProxy;
  readonly #tokenFile: string;
  readonly #token: string;
  #denied = false;

  private constructor(place: TestNamespace, node: Kubelet, proxy: ApiProxy, folder: string, token: string) {
    this.#place = place;
    this.#node = node;
    this.#proxy = proxy;
    this.#token = token;
    this.#tokenFile = join(folder, 'token');
    this.config = {
      kubeconfig: join(folder, 'kubeconfig.json'),
      tokenFile: this.#tokenFile,
      image: 'train:1',
      noticeSeconds: 2,
      flavours: [{ name: FLAVOUR.flavour, nodeSelector: { [HOST_LABEL]: node.name } }],
    };
  }

  static async start(facts: ApiFacts, node: Kubelet, folder: string): Promise<KitBackend> {
    const place = await TestNamespace.make(facts);
    const proxy = new ApiProxy(facts);
    proxy.smallPages = true;
    await proxy.listen();
    const token = await place.token();
    await writeFile(join(folder, 'kubeconfig.json'), proxyKubeconfig(proxy.url, place.name));
    await writeFile(join(folder, 'token'), token);
    return new KitBackend(place, node, proxy, folder, token);
  }

  async close(): Promise<void> {
    await this.#proxy.close();
    await this.#place.end();
  }

  live(key: string): number {
    return this.#node.live(key);
  }

  loseReply(): void {
    this.#proxy.nextReply = 'lost';
  }

  stallReply(): void {
    this.#proxy.nextReply = 'stalled';
  }

  tearReply(): void {
    this.#proxy.nextReply = 'torn';
  }

  hang(): void {
    this.#proxy.fault = () => {};
  }

  goAway(): Promise<void> {
    return this.#proxy.goAway();
  }

  refuse(text: string): void {
    this.#proxy.fault = (response) => response.writeHead(400, { 'content-type': 'text/plain' }).end(text);
  }

  throttle(retryAfterMs: number): void {
    const headers = { 'retry-after': String(Math.ceil(retryAfterMs / 1000)) };
    this.#proxy.fault = (response) =>
      response.writeHead(429, headers).end('Too many requests, please try again later.');
  }

  /** What the server itself makes of it. */
  async expireAuth(): Promise<void> {
    await writeFile(this.#tokenFile, `${this.#token}x`);
  }

  /** A real quota of no Jobs. */
  async denyQuota(): Promise<void> {
    await this.#place.limit(QUOTA, { 'count/jobs.batch': '0' });
    this.#denied = true;
    while (!(await this.#isOverQuota())) await sleep(LOOK_MS);
  }

  tearList(): void {
    this.#proxy.tearsLists = true;
  }

  showStatus(word: string): void {
    this.#proxy.phase = word;
  }

  skewClock(ms: number): void {
    this.#node.skewMs.set(this.#place.name, ms);
  }

  async heal(): Promise<void> {
    this.#proxy.fault = undefined;
    this.#proxy.nextReply = undefined;
    this.#proxy.tearsLists = false;
    this.#proxy.phase = undefined;
    this.#node.skewMs.delete(this.#place.name);
    await writeFile(this.#tokenFile, this.#token);
    await this.#proxy.listen();
    if (!this.#denied) return;
    this.#denied = false;
    await this.#place.admin.call('DELETE', this.#place.path('resourcequotas', QUOTA));
    while (await this.#isOverQuota()) await sleep(LOOK_MS);
  }

  async plantForeign(key: string): Promise<void> {
    await this.#place.admin.call('POST', this.#place.path('jobs'), this.#foreign(key));
    while (this.#node.live(key) === 0) await sleep(LOOK_MS);
  }

  /** By the cluster's own door for that, as `kubectl drain` and autoscalers take it. */
  async preempt(key: string): Promise<void> {
    for (const { metadata } of await this.#place.items(
      'pods',
      `?labelSelector=batch.kubernetes.io/job-name%3D${key}`,
    )) {
      const eviction = {
        apiVersion: 'policy/v1',
        kind: 'Eviction',
        metadata: { name: metadata.name, namespace: this.#place.name },
      };
      await this.#place.admin.call('POST', this.#place.path('pods', `${metadata.name}/eviction`), eviction);
    }
  }

  async forget(key: string): Promise<void> {
    const gone = { apiVersion: 'v1', kind: 'DeleteOptions', propagationPolicy: 'Foreground' };
    const { admin } = this.#place;
    await admin.call('DELETE', this.#place.path('jobs', key), gone).catch((error: unknown) => {
      if (!(error instanceof ApiRefusal) || error.status !== 404) throw error;
    });
    while ((await admin.find(this.#place.path('jobs', key))) !== undefined) await sleep(LOOK_MS);
  }

  async #isOverQuota(): Promise<boolean> {
    const path = `${this.#place.path('jobs')}?dryRun=All`;
    return this.#place.admin.call('POST', path, this.#foreign('probe')).then(
      () => false,
      (error: unknown) => error instanceof ApiRefusal && error.status === 403,
    );
  }

  #foreign(name: string): object {
    return {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name },
      spec: {
        template: {
          spec: {
            restartPolicy: 'Never',
            nodeSelector: { [HOST_LABEL]: this.#node.name },
            containers: [{ name: 'theirs', image: 'theirs:1', command: ['sleep', '600'] }],
          },
        },
      },
    };
  }
}

/** The kit's backend on a node of a cluster: each check has a namespace and a door of its own. */
export function kubernetesKitBackend(facts: ApiFacts, node: Kubelet): TestBackendDefinition {
  return defineTestBackend({
    time: 'real',
    start: async ({ stateDir }) => KitBackend.start(facts, node, stateDir),
  });
}
