import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../../platform/clock.ts';
import { openKubernetesProvider } from '../../../providers/kubernetes/adapter.ts';
import type { KubernetesConfig } from '../../../providers/kubernetes/config.ts';
import type { AttemptSpec, Observation, Provider } from '../../../providers/provider.ts';
import { ApiProxy } from './api-proxy.ts';
import { Kubelet, type KubeletOptions } from './kubelet.ts';
import type { ApiFacts } from './kubelet-api.ts';
import { TestNamespace } from './namespace.ts';
import { proxyKubeconfig } from './proxy-kubeconfig.ts';

const LOOK_MS = 100;
/** Only what hangs is given up. */
const PATIENCE_MS = 240_000;
const NODE_LABEL = 'merit-test/node';

/** A namespace, a node and a door of its own on the run's cluster, with the provider on it. */
export class KubernetesLife {
  readonly place: TestNamespace;
  readonly proxy: ApiProxy;
  readonly folder: string;
  readonly node: Kubelet;
  readonly signal = AbortSignal.timeout(600_000);
  readonly #facts: ApiFacts;
  readonly #nodes: Kubelet[];
  readonly #opened: Provider[] = [];
  #count = 0;

  private constructor(facts: ApiFacts, place: TestNamespace, proxy: ApiProxy, folder: string, node: Kubelet) {
    this.#facts = facts;
    this.place = place;
    this.proxy = proxy;
    this.folder = folder;
    this.node = node;
    this.#nodes = [node];
  }

  static async start(facts: ApiFacts, options: KubeletOptions = {}): Promise<KubernetesLife> {
    const folder = await mkdtemp(join(tmpdir(), 'merit-kubernetes-'));
    const place = await TestNamespace.make(facts);
    const node = await Kubelet.start(facts, { ...options, labels: { ...options.labels, [NODE_LABEL]: place.name } });
    const proxy = new ApiProxy(facts);
    await proxy.listen();
    await writeFile(join(folder, 'kubeconfig.json'), proxyKubeconfig(proxy.url, place.name));
    await writeFile(join(folder, 'token'), await place.token());
    return new KubernetesLife(facts, place, proxy, folder, node);
  }

  /** Another node of the flavour. */
  async addNode(): Promise<Kubelet> {
    const node = await Kubelet.start(this.#facts, { labels: { [NODE_LABEL]: this.place.name } });
    this.#nodes.push(node);
    return node;
  }

  /** `directLooks` 0: every look comes from the mirror, once there is one. */
  async open(config: Partial<KubernetesConfig> = {}, directLooks?: number): Promise<Provider> {
    const base: KubernetesConfig = {
      kubeconfig: join(this.folder, 'kubeconfig.json'),
      tokenFile: join(this.folder, 'token'),
      image: 'train:1',
      noticeSeconds: 2,
      flavours: [{ name: 'a', nodeSelector: { [NODE_LABEL]: this.place.name }, gpuResource: 'nvidia.com/gpu' }],
    };
    const provider = await openKubernetesProvider({ ...base, ...config }, systemClock, undefined, directLooks);
    this.#opened.push(provider);
    return provider;
  }

  spec(entrypoint: string, fields: Partial<AttemptSpec> = {}): AttemptSpec {
    const bookingId = `${this.place.name}-${++this.#count}`;
    return {
      key: `m-${bookingId}-1`,
      tag: `here-${this.place.name}`,
      bookingId,
      attempt: 1,
      entrypoint,
      workdir: undefined,
      env: { MERIT_PARAMETERS: '{}' },
      resources: { gpuMilli: 0n, cpuMilli: 100n, memoryBytes: 0n },
      flavour: 'a',
      leaseMs: 900_000,
      ...fields,
    };
  }

  async until<S extends Observation['state']>(
    provider: Provider,
    key: string,
    state: S,
  ): Promise<Extract<Observation, { state: S }>> {
    let seen: Observation | undefined;
    await this.eventually(
      async () => {
        seen = await provider.observe(key, this.signal);
        if (seen.state === 'ended' && state !== 'ended') throw new Error(`it ended: ${seen.outcome}: ${seen.message}`);
        return seen.state === state;
      },
      () => `${key} is seen as ${state}, last ${JSON.stringify(seen)}`,
    );
    return seen as Observation as Extract<Observation, { state: S }>;
  }

  async eventually(look: () => Promise<boolean>, what: () => string): Promise<void> {
    const limitMs = performance.now() + PATIENCE_MS;
    while (!(await look())) {
      if (performance.now() > limitMs) throw new Error(`it does not come that ${what()}`);
      await sleep(LOOK_MS);
    }
  }

  /** Names of everything in the namespace that an attempt could have left. */
  async left(): Promise<readonly string[]> {
    const kinds = ['jobs', 'pods', 'secrets', 'services', 'configmaps'];
    const all = await Promise.all(
      kinds.map(async (kind) => (await this.place.items(kind)).map(({ metadata }) => `${kind}/${metadata.name}`)),
    );
    return all.flat().filter((name) => name !== 'configmaps/kube-root-ca.crt');
  }

  async end(): Promise<void> {
    for (const provider of this.#opened) await provider.close();
    await this.proxy.close();
    for (const node of this.#nodes) await node.stop();
    await this.place.end();
    await rm(this.folder, { recursive: true, force: true });
  }
}
