import { systemClock } from '../../../platform/clock.ts';
import type { KubernetesApi } from '../../../platform/kubernetes/api.ts';
import { Mirror } from '../../../platform/kubernetes/mirror.ts';
import { KubernetesRefusal } from '../../../platform/kubernetes/refusal.ts';
import type { Pod } from '../../../providers/kubernetes/pod.ts';

const LOOK_EVERY_MS = 200;
/** The controllers of the tests take a node for dead after 8 s without. */
const HEARTBEAT_MS = 2_000;
/** No pod of a real cluster has it: the stand-in's dashboards are found by name. */
const POD_IP = '10.99.0.1';

/** A pod of KubeRay's, with what it asks for. */
export type RayPod = Pod & {
  readonly spec?: {
    readonly nodeSelector?: Readonly<Record<string, string>>;
    readonly schedulingGates?: readonly unknown[];
  };
};

/**
 * The kubelets of a namespace's Ray pods, without containers: what is bound to their node runs and is ready at once, and what is deleted is gone when
 * `onEnd` has ended what ran there. Binds pods itself where `binds`; else the scheduler does.
 */
export class PodKeeper {
  readonly #api: KubernetesApi;
  readonly #namespace: string;
  readonly #node: string;
  readonly #mirror: Mirror<RayPod>;
  readonly #stop = new AbortController();
  readonly #onEnd: (pod: RayPod) => Promise<void>;
  #loops: readonly Promise<void>[] = [];
  /** Whether pods are given the node here, where no scheduler runs. */
  binds = false;
  /** Pods are bound, but do not become ready. */
  holds = false;

  constructor(api: KubernetesApi, namespace: string, node: string, onEnd: (pod: RayPod) => Promise<void>) {
    this.#api = api;
    this.#namespace = namespace;
    this.#node = node;
    this.#onEnd = onEnd;
    this.#mirror = new Mirror(api, this.#path(''), { labelSelector: 'ray.io/cluster' }, systemClock);
  }

  async start(): Promise<this> {
    await this.#beat();
    this.#loops = [this.#run(this.#stop.signal), this.#beats(this.#stop.signal)];
    return this;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#mirror.close();
    await Promise.all(this.#loops);
  }

  /** Whether the head of this cluster runs. */
  isUp(cluster: string): boolean {
    return [...(this.#mirror.fresh()?.values() ?? [])].some(
      ({ metadata: { labels = {} }, status }) =>
        labels['ray.io/cluster'] === cluster && labels['ray.io/node-type'] === 'head' && status?.phase === 'Running',
    );
  }

  /** Takes a pod's node away, as a cloud or a scheduler does. */
  async takeAway(pod: string, reason: string, message: string): Promise<void> {
    const condition = {
      type: 'DisruptionTarget',
      status: 'True',
      reason,
      message,
      lastTransitionTime: new Date().toISOString(),
    };
    await this.#patch(`${this.#path(pod)}/status`, { status: { conditions: [condition] } });
    await this.#delete(pod);
  }

  async #beats(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await systemClock.sleep(HEARTBEAT_MS, signal);
      if (signal.aborted) return;
      await this.#beat().catch((error: unknown) => {
        if (!(error instanceof KubernetesRefusal) && !signal.aborted) throw error;
      });
    }
  }

  async #beat(): Promise<void> {
    const at = new Date().toISOString();
    const ready = {
      type: 'Ready',
      status: 'True',
      reason: 'KubeletReady',
      lastHeartbeatTime: at,
      lastTransitionTime: at,
    };
    await this.#patch(`/api/v1/nodes/${this.#node}/status`, { status: { conditions: [ready] } });
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      for (const pod of this.#mirror.fresh()?.values() ?? []) {
        if (signal.aborted) return;
        await this.#keep(pod).catch((error: unknown) => {
          // Somebody was faster, or it is gone.
          if (!(error instanceof KubernetesRefusal) && !signal.aborted) throw error;
        });
      }
      await this.#mirror.changed(LOOK_EVERY_MS, signal);
    }
  }

  async #keep(pod: RayPod): Promise<void> {
    const { name, deletionTimestamp } = pod.metadata;
    const node = pod.spec?.nodeName;
    if (node === undefined) {
      if (this.binds && deletionTimestamp === undefined) await this.#bind(pod);
      return;
    }
    if (node !== this.#node) return;
    if (deletionTimestamp !== undefined) {
      await this.#onEnd(pod);
      await this.#delete(name);
      return;
    }
    if (this.holds || pod.status?.phase === 'Running') return;
    await this.#patch(`${this.#path(name)}/status`, { status: runningStatus(pod) });
  }

  async #bind({ metadata: { name } }: RayPod): Promise<void> {
    await this.#api.json({
      method: 'POST',
      path: `${this.#path(name)}/binding`,
      body: {
        apiVersion: 'v1',
        kind: 'Binding',
        metadata: { name },
        target: { apiVersion: 'v1', kind: 'Node', name: this.#node },
      },
      signal: this.#stop.signal,
    });
  }

  async #delete(pod: string): Promise<void> {
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds: 0 };
    await this.#api.json({ method: 'DELETE', path: this.#path(pod), body, signal: this.#stop.signal });
  }

  async #patch(path: string, body: object): Promise<void> {
    const contentType = 'application/strategic-merge-patch+json';
    await this.#api.json({ method: 'PATCH', path, body, contentType, signal: this.#stop.signal });
  }

  #path(pod: string): string {
    return `/api/v1/namespaces/${this.#namespace}/pods${pod === '' ? '' : `/${pod}`}`;
  }
}

function runningStatus({ spec }: RayPod) {
  const at = new Date().toISOString();
  const ready = (type: string) => ({ type, status: 'True', lastTransitionTime: at });
  return {
    phase: 'Running',
    podIP: POD_IP,
    podIPs: [{ ip: POD_IP }],
    startTime: at,
    conditions: ['Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map(ready),
    containerStatuses: (spec?.containers ?? []).map(({ name }) => ({
      name,
      ready: true,
      started: true,
      restartCount: 0,
      image: 'none',
      imageID: '',
      state: { running: { startedAt: at } },
    })),
  };
}
