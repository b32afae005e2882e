import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AdminApi } from './kubelet-api.ts';
import { type ContainerEnd, KubeletContainer } from './kubelet-container.ts';
import { type Mount, type Mounts, makeVolumes, NotYet, rewritten, type Volume } from './pod-files.ts';

interface EnvVar {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: { readonly fieldRef?: { readonly fieldPath: string } };
}

export interface KubeletPod {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
    readonly deletionGracePeriodSeconds?: number;
  };
  readonly spec: {
    readonly terminationGracePeriodSeconds?: number;
    readonly activeDeadlineSeconds?: number;
    readonly volumes?: readonly Volume[];
    readonly containers: readonly {
      readonly name: string;
      readonly image: string;
      readonly command?: readonly string[];
      readonly args?: readonly string[];
      readonly env?: readonly EnvVar[];
      readonly envFrom?: readonly { readonly secretRef?: { readonly name: string } }[];
      readonly volumeMounts?: readonly Mount[];
      readonly terminationMessagePolicy?: string;
    }[];
  };
  readonly status?: { readonly phase?: string };
}

/** How a pod is ended that does not end by itself. */
export interface Ending {
  readonly graceSeconds: number;
  /** Of the pod's status; undefined: its container's exit says it. */
  readonly reason?: string;
  readonly message?: string;
  readonly condition?: string;
  /** Of the container's status. */
  readonly containerReason?: string;
}

const RETRY_MS = 100;
/** An image with this in its name is in no registry. */
export const MISSING_IMAGE = 'no-such-image';
const PULL_ERROR = (image: string) =>
  `rpc error: code = NotFound desc = failed to pull and unpack image "${image}": failed to resolve reference: ${image}: not found`;

/** One pod of a node: its first container, from its volumes to its end, told to the API server as a kubelet tells it. */
export class PodRunner {
  readonly #api: AdminApi;
  readonly #root: string;
  readonly #now: () => number;
  readonly startedAtMs: number;
  pod: KubeletPod;
  container: KubeletContainer | undefined;
  #ending: Ending | undefined;
  #deadline: NodeJS.Timeout | undefined;
  #kill: NodeJS.Timeout | undefined;
  #gone = false;
  #told = Promise.resolve();

  constructor(api: AdminApi, pod: KubeletPod, root: string, now: () => number) {
    this.#api = api;
    this.pod = pod;
    this.#root = join(root, pod.metadata.uid);
    this.#now = now;
    this.startedAtMs = now();
  }

  get key(): string {
    return this.pod.metadata.labels?.['merit/key'] ?? this.pod.metadata.labels?.['batch.kubernetes.io/job-name'] ?? '';
  }

  get #path(): string {
    const { namespace, name } = this.pod.metadata;
    return `/api/v1/namespaces/${namespace}/pods/${name}`;
  }

  /** Runs it to its end; resolves when all of that is told. */
  async run(): Promise<void> {
    const { containers } = this.pod.spec;
    const [first] = containers;
    if (first === undefined) return;
    this.#tell({ phase: 'Pending', containerStatuses: [this.#waiting(first, 'ContainerCreating', '')] });
    this.#watchDeadline();
    if (first.image.includes(MISSING_IMAGE))
      this.#tell({ containerStatuses: [this.#waiting(first, 'ErrImagePull', PULL_ERROR(first.image))] });
    const mounts = first.image.includes(MISSING_IMAGE)
      ? await this.#untilEnding()
      : await this.#volumes(first.volumeMounts ?? []);
    if (mounts === undefined) return this.#over(undefined);
    const env = await this.#env(first, mounts);
    if (this.#ending !== undefined || this.#gone) return this.#over(undefined);
    const command = [...(first.command ?? []), ...(first.args ?? [])].map((text) => rewritten(text, mounts));
    const container = new KubeletContainer(this.pod.metadata.uid, command, { cwd: this.#root, env, now: this.#now });
    this.container = container;
    const running = { startedAt: iso(container.startedAtMs) };
    this.#tell({
      phase: 'Running',
      conditions: ['Initialized', 'ContainersReady', 'Ready'].map((type) => ({
        type,
        status: 'True',
        lastTransitionTime: iso(this.#now()),
      })),
      containerStatuses: [{ ...base(first), ready: true, started: true, state: { running } }],
    });
    return this.#over(await container.ended);
  }

  /** What the API server says of it now. */
  update(pod: KubeletPod): void {
    this.pod = pod;
    if (pod.metadata.deletionTimestamp !== undefined)
      this.end({ graceSeconds: pod.metadata.deletionGracePeriodSeconds ?? 30 });
    this.#watchDeadline();
  }

  /** Ends it: SIGTERM, and SIGKILL after the grace. A second ending may only shorten the grace. */
  end(ending: Ending): void {
    this.#ending ??= ending;
    this.container?.terminate();
    clearTimeout(this.#kill);
    this.#kill = setTimeout(() => this.container?.kill(), ending.graceSeconds * 1000);
  }

  /** As if the machine were off: nothing is told any more. */
  vanish(): void {
    this.#gone = true;
    clearTimeout(this.#deadline);
    clearTimeout(this.#kill);
    this.container?.kill();
  }

  async clean(): Promise<void> {
    this.vanish();
    await this.container?.ended;
    await this.#told.catch(() => {});
    await rm(this.#root, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }

  async #volumes(mounts: readonly Mount[]): Promise<Mounts | undefined> {
    const { namespace } = this.pod.metadata;
    while (this.#ending === undefined && !this.#gone) {
      try {
        return await makeVolumes(this.#api, namespace, this.#root, this.pod.spec.volumes ?? [], mounts);
      } catch (error) {
        if (!(error instanceof NotYet)) throw error;
      }
      await sleep(RETRY_MS);
    }
    return undefined;
  }

  async #untilEnding(): Promise<undefined> {
    while (this.#ending === undefined && !this.#gone) await sleep(RETRY_MS);
    return undefined;
  }

  async #env(
    { env = [], envFrom = [] }: KubeletPod['spec']['containers'][number],
    mounts: Mounts,
  ): Promise<Readonly<Record<string, string>>> {
    const { metadata } = this.pod;
    const result: Record<string, string> = {};
    for (const { secretRef } of envFrom) {
      if (secretRef === undefined) continue;
      const path = `/api/v1/namespaces/${metadata.namespace}/secrets/${secretRef.name}`;
      const { data = {} } = await this.#api.call<{ readonly data?: Readonly<Record<string, string>> }>('GET', path);
      for (const [name, value] of Object.entries(data)) result[name] = Buffer.from(value, 'base64').toString('utf8');
    }
    for (const { name, value, valueFrom } of env) {
      const path = valueFrom?.fieldRef?.fieldPath ?? '';
      const annotation = /^metadata\.annotations\['(.+)'\]$/.exec(path)?.[1];
      const label = /^metadata\.labels\['(.+)'\]$/.exec(path)?.[1];
      result[name] =
        annotation !== undefined
          ? (metadata.annotations?.[annotation] ?? '')
          : label !== undefined
            ? (metadata.labels?.[label] ?? '')
            : rewritten(value ?? '', mounts);
    }
    return result;
  }

  #watchDeadline(): void {
    const { activeDeadlineSeconds, terminationGracePeriodSeconds: graceSeconds = 30 } = this.pod.spec;
    if (activeDeadlineSeconds === undefined || this.#ending !== undefined) return;
    clearTimeout(this.#deadline);
    const leftMs = this.startedAtMs + activeDeadlineSeconds * 1000 - this.#now();
    const message = 'Pod was active on the node longer than the specified deadline';
    const end = () => this.end({ graceSeconds, reason: 'DeadlineExceeded', message });
    this.#deadline = setTimeout(end, Math.max(0, Math.min(leftMs, 2 ** 31 - 1)));
  }

  async #over(end: ContainerEnd | undefined): Promise<void> {
    clearTimeout(this.#deadline);
    clearTimeout(this.#kill);
    if (this.#gone) return;
    const [first] = this.pod.spec.containers;
    const { reason, message, condition, containerReason } = this.#ending ?? {};
    const isGood = end?.exitCode === 0 && reason === undefined;
    if (
      first !== undefined &&
      (end !== undefined || reason !== undefined || this.pod.metadata.deletionTimestamp !== undefined)
    )
      this.#tell({
        phase: isGood ? 'Succeeded' : 'Failed',
        ...(reason === undefined ? {} : { reason, message }),
        conditions: [
          { type: 'Ready', status: 'False', lastTransitionTime: iso(this.#now()) },
          ...(condition === undefined
            ? []
            : [
                {
                  type: 'DisruptionTarget',
                  status: 'True',
                  reason: condition,
                  message,
                  lastTransitionTime: iso(this.#now()),
                },
              ]),
        ],
        ...(end === undefined ? {} : { containerStatuses: [this.#terminated(first, end, containerReason)] }),
      });
    while (!this.#gone) {
      await this.#told.catch(() => {});
      if (this.pod.metadata.deletionTimestamp !== undefined) break;
      await sleep(RETRY_MS);
    }
    if (this.#gone) return;
    const body = {
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      gracePeriodSeconds: 0,
      preconditions: { uid: this.pod.metadata.uid },
    };
    await this.#api.call('DELETE', this.#path, body).catch(() => {});
  }

  #waiting(first: KubeletPod['spec']['containers'][number], reason: string, message: string): object {
    return { ...base(first), ready: false, state: { waiting: { reason, ...(message === '' ? {} : { message }) } } };
  }

  #terminated(
    first: KubeletPod['spec']['containers'][number],
    { exitCode, finishedAtMs }: ContainerEnd,
    reason = exitCode === 0 ? 'Completed' : 'Error',
  ): object {
    const { container } = this;
    const words =
      exitCode !== 0 && first.terminationMessagePolicy === 'FallbackToLogsOnError' ? container?.lastWords() : undefined;
    const terminated = {
      exitCode,
      reason,
      startedAt: iso(container?.startedAtMs ?? finishedAtMs),
      finishedAt: iso(finishedAtMs),
      ...(words === undefined ? {} : { message: words }),
    };
    return { ...base(first), ready: false, started: false, state: { terminated } };
  }

  /** One after the other, so that no later word is overtaken by an earlier one. */
  #tell(status: object): void {
    const body = {
      metadata: { uid: this.pod.metadata.uid },
      status: { startTime: iso(this.startedAtMs), hostIP: '127.0.0.1', podIP: '127.0.0.1', ...status },
    };
    this.#told = this.#told
      .then(async () => {
        if (!this.#gone)
          await this.#api.call('PATCH', `${this.#path}/status`, body, 'application/strategic-merge-patch+json');
      })
      .catch(() => {});
  }
}

function base({ name, image }: { readonly name: string; readonly image: string }): object {
  return { name, image, imageID: '', restartCount: 0, lastState: {} };
}

function iso(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}
