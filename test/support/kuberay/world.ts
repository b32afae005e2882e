import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { KubernetesApi, type KubernetesCall } from '../../../platform/kubernetes/api.ts';
import { KubernetesRefusal } from '../../../platform/kubernetes/refusal.ts';
import type { KubeRayConfig } from '../../../providers/kuberay/config.ts';
import type { RayJobObject } from '../../../providers/kuberay/ray-job.ts';
import type { KubeApiserverFacts } from '../../parts/kube-apiserver.ts';
import type { KuberayOperatorFacts } from '../../parts/kuberay-operator.ts';
import { KubernetesFront } from './front.ts';
import { PodKeeper } from './pod-keeper.ts';
import { RayStandIn } from './ray-stand-in.ts';

const run = promisify(execFile);

/** Unpacks as Ray does: without the one folder at the top, with modes. */
const UNPACK = `
import os, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z:
    for info in z.infolist():
        path = os.path.join(sys.argv[2], info.filename.split('/', 1)[1])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, 'wb').write(z.read(info))
        if info.external_attr >> 16: os.chmod(path, info.external_attr >> 16 & 0o777)
`;

export interface WorldFacts {
  readonly api: KubeApiserverFacts;
  readonly operator: KuberayOperatorFacts;
}

/** A namespace of a real API server with a node of its own, whose Ray pods run nothing, and a stand-in for the Rays that would be in them. */
export class KubeRayWorld {
  readonly namespace = `kuberay-${randomBytes(5).toString('hex')}`;
  readonly node = `${this.namespace}-node`;
  readonly api: KubernetesApi;
  readonly front: KubernetesFront;
  readonly pods: PodKeeper;
  readonly rays: RayStandIn;
  readonly #facts: WorldFacts;
  readonly #tokens = new Map<string, Promise<string | undefined>>();
  #dir = '';

  constructor(facts: WorldFacts) {
    this.#facts = facts;
    this.api = new KubernetesApi({ kubeconfig: facts.api.kubeconfig });
    this.front = new KubernetesFront(facts.api);
    this.rays = new RayStandIn({
      isUp: (cluster) => this.pods.isUp(cluster),
      tokenOf: (cluster) => this.#tokenOf(cluster),
      unpack: (key, uri, folder) => this.unpack(key, uri, folder),
    });
    this.pods = new PodKeeper(this.api, this.namespace, this.node, async ({ metadata: { labels = {} } }) => {
      if (labels['ray.io/node-type'] === 'head') await this.rays.lose(labels['ray.io/cluster'] ?? '');
    });
  }

  /** `capacity`: of its node. */
  async start(capacity: Readonly<Record<string, string>> = { cpu: '64', memory: '256Gi', pods: '500' }): Promise<this> {
    this.#dir = await mkdtemp(join(tmpdir(), 'merit-kuberay-'));
    await Promise.all([this.front.listen(), this.rays.listen()]);
    await this.make('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: this.namespace } });
    await this.make('/api/v1/nodes', {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: this.node, labels: { 'test/world': this.namespace } },
      status: { capacity, allocatable: capacity },
    });
    await this.route(this.rays.url);
    const user = { name: 'merit', user: { token: 'of-merit' } };
    await writeFile(
      this.kubeconfig,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Config',
        clusters: [{ name: 'test', cluster: { server: this.front.url, 'insecure-skip-tls-verify': true } }],
        users: [user],
        contexts: [{ name: 'test', context: { cluster: 'test', user: 'merit', namespace: this.namespace } }],
        'current-context': 'test',
      }),
    );
    await this.pods.start();
    return this;
  }

  /** Where the operator finds the dashboards of this namespace. */
  async route(url: string): Promise<void> {
    const body = `${url}/${this.namespace}`;
    await fetch(`${this.#facts.operator.switchboard}/targets/${this.namespace}`, { method: 'PUT', body });
  }

  get kubeconfig(): string {
    return join(this.#dir, 'kubeconfig.json');
  }

  config(more: Partial<KubeRayConfig> = {}): KubeRayConfig {
    return {
      kubeconfig: this.kubeconfig,
      image: 'ray:test',
      rayVersion: '2.60.0',
      dashboards: `${this.rays.url}/{namespace}/{service}`,
      stopGraceSeconds: 5,
      flavours: [{ name: 'cpu', nodeSelector: { 'test/world': this.namespace } }],
      ...more,
    };
  }

  async close(): Promise<void> {
    await fetch(`${this.#facts.operator.switchboard}/targets/${this.namespace}`, { method: 'DELETE' });
    await this.pods.close();
    await this.rays.close();
    await this.front.close();
    const background = { apiVersion: 'v1', kind: 'DeleteOptions', propagationPolicy: 'Background' };
    for (const path of [`/api/v1/namespaces/${this.namespace}`, `/api/v1/nodes/${this.node}`])
      await this.call({ method: 'DELETE', path, body: background });
    await this.api.close();
    await rm(this.#dir, { recursive: true, force: true });
  }

  /** A call as the administrator, past the front. undefined: it is not there. */
  async call<T>(call: Omit<KubernetesCall, 'signal'>): Promise<T | undefined> {
    try {
      return await this.api.json<T>({ ...call, signal: AbortSignal.timeout(60_000) });
    } catch (error) {
      if (error instanceof KubernetesRefusal && error.status === 404) return undefined;
      throw error;
    }
  }

  make(path: string, body: object): Promise<unknown> {
    return this.call({ method: 'POST', path, body });
  }

  rayJob(key: string): Promise<RayJobObject | undefined> {
    return this.call<RayJobObject>({ path: `/apis/ray.io/v1/namespaces/${this.namespace}/rayjobs/${key}` });
  }

  /** Names of what there is of a kind, as `rayclusters.ray.io` or `pods`. */
  async names(plural: string, labelSelector?: string): Promise<readonly string[]> {
    const [resource = '', ...group] = plural.split('.');
    const base = group.length === 0 ? '/api/v1' : `/apis/${group.join('.')}/v1`;
    const path = `${base}/namespaces/${this.namespace}/${resource}`;
    const list = await this.call<{ items: readonly RayJobObject[] }>({ path, query: { labelSelector } });
    return (list?.items ?? []).map(({ metadata }) => metadata.name);
  }

  #tokenOf(cluster: string): Promise<string | undefined> {
    const known = this.#tokens.get(cluster) ?? this.token(cluster);
    this.#tokens.set(cluster, known);
    return known;
  }

  /** As KubeRay made it for a cluster. */
  async token(cluster: string): Promise<string | undefined> {
    const path = `/api/v1/namespaces/${this.namespace}/secrets/${cluster}`;
    const secret = await this.call<{ data?: { auth_token?: string } }>({ path });
    const encoded = secret?.data?.auth_token;
    return encoded === undefined ? undefined : Buffer.from(encoded, 'base64').toString();
  }

  /** The package of this URI as an attempt's pods have it, put together from its parts. */
  async packageBytes(key: string, uri: string): Promise<Buffer> {
    const path = `/api/v1/namespaces/${this.namespace}/configmaps`;
    const list = await this.call<{ items: readonly { binaryData?: Record<string, string> }[] }>({
      path,
      query: { labelSelector: `merit/key=${key}` },
    });
    const name = `${uri.split('/').at(-1)}.`;
    const parts = (list?.items ?? []).flatMap(({ binaryData = {} }) => Object.entries(binaryData));
    const mine = parts.filter(([file]) => file.startsWith(name)).sort(([a], [b]) => (a < b ? -1 : 1));
    return Buffer.concat(mine.map(([, text]) => Buffer.from(text, 'base64')));
  }

  async unpack(key: string, uri: string, folder: string): Promise<void> {
    const file = join(this.#dir, `${key}.zip`);
    await writeFile(file, await this.packageBytes(key, uri));
    await run('python3', ['-c', UNPACK, file, folder]);
  }
}
