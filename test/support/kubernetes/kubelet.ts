import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ensureDevCertificates } from '../../../platform/dev-ca.ts';
import { AdminApi, type ApiFacts } from './kubelet-api.ts';
import { type Ending, type KubeletPod, PodRunner } from './pod-runner.ts';

const HEARTBEAT_MS = 2_000;
const LEASE_SECONDS = 10;
const READY_LOOK_MS = 100;
const STRATEGIC = 'application/strategic-merge-patch+json';

export interface KubeletOptions {
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly allocatable?: Readonly<Record<string, string>>;
}

/**
 * The kubelet of the tests: one node of a real API server, whose pods are processes of this machine. It registers its node and keeps its lease, takes the pods that
 * are bound to it, gives their first container its volumes and variables, runs its command, and tells phases, states, exit codes and last words as a kubelet does; it
 * ends pods by deletion, deadline or eviction with SIGTERM and SIGKILL, and serves their logs to the API server. What it has not: containers (no images, no mounts,
 * no limits, no network of their own), probes, sidecars, restarts.
 */
export class Kubelet {
  readonly name: string;
  /** Its clock is off by so much for the pods of a namespace. */
  readonly skewMs = new Map<string, number>();
  readonly #api: AdminApi;
  readonly #folder: string;
  readonly #labels: Readonly<Record<string, string>>;
  readonly #allocatable: Readonly<Record<string, string>>;
  readonly #server: Server;
  readonly #runners = new Map<string, PodRunner>();
  readonly #stop = new AbortController();
  #loops: Promise<unknown>[] = [];

  private constructor(api: AdminApi, folder: string, server: Server, options: KubeletOptions) {
    this.#api = api;
    this.#folder = folder;
    this.#server = server;
    this.name = options.name ?? `node-${randomBytes(4).toString('hex')}`;
    this.#labels = options.labels ?? {};
    this.#allocatable = { cpu: '4', memory: '8Gi', pods: '110', ...options.allocatable };
  }

  /** Resolves when the cluster schedules on it. */
  static async start(facts: ApiFacts, options: KubeletOptions = {}): Promise<Kubelet> {
    const folder = await mkdtemp(join(tmpdir(), 'merit-kubelet-'));
    await mkdir(join(folder, 'pods'));
    const { kubelet: tls } = await ensureDevCertificates({
      dir: join(folder, 'pki'),
      services: ['kubelet'],
      nowMs: Date.now(),
    });
    const server = createServer({ cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile) });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const kubelet = new Kubelet(new AdminApi(facts), folder, server, options);
    server.on('request', (request, response) => kubelet.#answer(request, response));
    await kubelet.#begin();
    return kubelet;
  }

  /** Running containers of an attempt, or of a Job of this name. */
  live(key: string): number {
    return this.#of(key).filter(({ container }) => container?.isRunning === true).length;
  }

  /** Ends the pods of an attempt as the kubelet does by itself: for want of memory or disk. */
  end(key: string, ending: Ending): void {
    for (const runner of this.#of(key)) runner.end(ending);
  }

  /** Kills its processes and says no more, as a machine that is off. Its node stays in the cluster. */
  async vanish(): Promise<void> {
    this.#stop.abort();
    this.#server.closeAllConnections();
    this.#server.close();
    await Promise.all([...this.#runners.values()].map((runner) => runner.clean()));
    await Promise.allSettled(this.#loops);
  }

  /** Takes the node out of the cluster, too. */
  async stop(): Promise<void> {
    await this.vanish();
    await this.#api.call('DELETE', `/api/v1/nodes/${this.name}`).catch(() => {});
    await this.#api.close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  #of(key: string): readonly PodRunner[] {
    return [...this.#runners.values()].filter((runner) => runner.key === key);
  }

  async #begin(): Promise<void> {
    await this.#api.call('POST', '/api/v1/nodes', {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: this.name, labels: { 'kubernetes.io/hostname': this.name, ...this.#labels } },
    });
    await this.#heartbeat();
    this.#loops = [this.#beat(), this.#follow()];
    type Node = { readonly spec?: { readonly taints?: readonly object[] } };
    for (;;) {
      const { spec } = await this.#api.call<Node>('GET', `/api/v1/nodes/${this.name}`);
      if ((spec?.taints ?? []).length === 0) return;
      await sleep(READY_LOOK_MS);
    }
  }

  async #beat(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await sleep(HEARTBEAT_MS, undefined, { signal: this.#stop.signal }).catch(() => {});
      if (!this.#stop.signal.aborted) await this.#heartbeat().catch(() => {});
    }
  }

  async #heartbeat(): Promise<void> {
    const now = new Date().toISOString();
    const { port } = this.#server.address() as AddressInfo;
    const condition = {
      type: 'Ready',
      status: 'True',
      reason: 'KubeletReady',
      lastHeartbeatTime: now.replace(/\.\d+Z/, 'Z'),
    };
    const status = {
      capacity: this.#allocatable,
      allocatable: this.#allocatable,
      conditions: [condition],
      addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
      daemonEndpoints: { kubeletEndpoint: { Port: port } },
    };
    await this.#api.call('PATCH', `/api/v1/nodes/${this.name}/status`, { status }, STRATEGIC);
    const lease = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name: this.name, namespace: 'kube-node-lease' },
      spec: { holderIdentity: this.name, leaseDurationSeconds: LEASE_SECONDS, renewTime: now.replace('Z', '000Z') },
    };
    const path = `/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/${this.name}?fieldManager=kubelet&force=true`;
    await this.#api.call('PATCH', path, lease, 'application/apply-patch+yaml');
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop;
    const path = `/api/v1/pods?watch=true&fieldSelector=spec.nodeName%3D${this.name}`;
    while (!signal.aborted) {
      try {
        for await (const { type, object } of this.#api.watch(path, signal)) this.#see(type, object as KubeletPod);
      } catch {
        // The server went away, or this ends.
      }
      if (!signal.aborted) await sleep(READY_LOOK_MS);
    }
  }

  #see(type: string, pod: KubeletPod): void {
    const { uid } = pod.metadata;
    const known = this.#runners.get(uid);
    if (type === 'DELETED') {
      this.#runners.delete(uid);
      void known?.clean();
      return;
    }
    known?.update(pod);
    if (known !== undefined) return;
    if (pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed') return;
    const now = () => Date.now() + (this.skewMs.get(pod.metadata.namespace) ?? 0);
    const runner = new PodRunner(this.#api, pod, join(this.#folder, 'pods'), now);
    this.#runners.set(uid, runner);
    runner.update(pod);
    runner.run().catch((error: unknown) => console.error(`the kubelet of the tests: ${pod.metadata.name}:`, error));
  }

  /** `GET /containerLogs/NAMESPACE/POD/CONTAINER`, as the API server asks for a log. */
  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', 'https://kubelet');
    const [, kind, namespace, name] = url.pathname.split('/');
    const runner = [...this.#runners.values()].find(
      ({ pod: { metadata } }) => metadata.namespace === namespace && metadata.name === name,
    );
    if (kind !== 'containerLogs' || runner?.container === undefined)
      return void response.writeHead(404).end('not found');
    const since = url.searchParams.get('sinceTime');
    const limit = url.searchParams.get('limitBytes');
    response.writeHead(200, { 'content-type': 'text/plain' }).end(
      runner.container.log.read({
        stamps: url.searchParams.get('timestamps') === 'true',
        ...(since === null ? {} : { sinceMs: Date.parse(since) }),
        ...(limit === null ? {} : { limitBytes: Number(limit) }),
      }),
    );
  }
}
