import type { Clock } from '../../platform/clock.ts';
import { KubernetesApi, type KubernetesCall, type Query } from '../../platform/kubernetes/api.ts';
import { type KubernetesList, type KubernetesObject, listAll } from '../../platform/kubernetes/list.ts';
import { Mirror, type MirrorLimits } from '../../platform/kubernetes/mirror.ts';
import { KubernetesRefusal } from '../../platform/kubernetes/refusal.ts';
import { ProviderError } from '../provider.ts';
import { providerErrorOf } from './errors.ts';

/** What server-side apply knows Merit's fields by. */
export const FIELD_MANAGER = 'merit';

/** How a pool reaches its cluster: the part of `config` that the kinds on Kubernetes share. */
export interface ClusterConfig {
  /** Absolute path; absent: the service account of the pod that Merit runs in. */
  readonly kubeconfig?: string;
  readonly context?: string;
  /** Absolute path of a file with a bearer token, read at each call; absent: what the kubeconfig says. */
  readonly tokenFile?: string;
  /** Where jobs are made; absent: the context's, else `default`. */
  readonly namespace?: string;
}

export const clusterConfigProperties = {
  kubeconfig: {
    type: 'string',
    description: 'absolute path; absent: the service account of the pod that Merit runs in',
  },
  context: { type: 'string', minLength: 1, maxLength: 253, description: 'of the kubeconfig; absent: its current one' },
  tokenFile: { type: 'string', description: 'absolute path of a bearer token, read at each call' },
  namespace: {
    type: 'string',
    pattern: '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$',
    description: 'where jobs are made; absent: the context’s, else default',
  },
} as const;

/** A call with what is done, for whom it fails, and whether it changes anything. */
export type Ask = KubernetesCall & { readonly doing: string; readonly changes?: boolean };

/** A pool's cluster. Every failure is a ProviderError, unless `silent` takes it. Nothing is imported and nobody asked before the first call. */
export class Cluster {
  readonly #api: KubernetesApi;
  readonly #namespace: string | undefined;
  readonly #mirrors: Mirror<never>[] = [];

  constructor({ kubeconfig, context, tokenFile, namespace }: ClusterConfig) {
    this.#api = new KubernetesApi({
      kubeconfig,
      ...(context === undefined ? {} : { context }),
      ...(tokenFile === undefined ? {} : { tokenFile }),
    });
    this.#namespace = namespace;
  }

  async namespace(): Promise<string> {
    if (this.#namespace !== undefined) return this.#namespace;
    return answered(
      { doing: 'finding the namespace', changes: false },
      async () => (await this.#api.namespace()) ?? 'default',
    );
  }

  /** The answer as JSON; undefined where `silent` takes the refusal. */
  async ask<T>(ask: Ask, silent: (refusal: KubernetesRefusal) => boolean = () => false): Promise<T | undefined> {
    return answered<T>(ask, () => this.#api.json<T>(ask), silent);
  }

  /** The answer as bytes, at most `limitBytes` of it. */
  async bytes(ask: Ask, limitBytes: number): Promise<Uint8Array> {
    return answered(ask, () => this.#api.bytes(ask, limitBytes));
  }

  /** What is at this path; undefined: nothing. */
  async find<T>(path: string, doing: string, signal: AbortSignal): Promise<T | undefined> {
    return this.ask<T>({ path, doing, signal }, isAbsent);
  }

  async list<T extends KubernetesObject>(
    path: string,
    query: Query,
    doing: string,
    signal: AbortSignal,
  ): Promise<KubernetesList<T>> {
    return answered({ doing, signal }, () => listAll<T>(this.#api, path, query, signal));
  }

  /** Server-side apply: makes the object, or makes Merit's fields of it what they are here. */
  async apply<T>(path: string, object: object, doing: string, signal: AbortSignal): Promise<T> {
    const query = { fieldManager: FIELD_MANAGER, force: true };
    const contentType = 'application/apply-patch+yaml';
    const ask: Ask = { method: 'PATCH', path, query, body: object, contentType, doing, changes: true, signal };
    return (await this.ask<T>(ask)) as T;
  }

  /** JSON merge patch of an object or a subresource; undefined: there is none, or it is no longer what `body.metadata` names. */
  async merge<T>(path: string, body: object, doing: string, signal: AbortSignal): Promise<T | undefined> {
    const ask: Ask = {
      method: 'PATCH',
      path,
      query: { fieldManager: FIELD_MANAGER },
      body,
      contentType: 'application/merge-patch+json',
      doing,
      changes: true,
      signal,
    };
    return this.ask<T>(ask, (refusal) => isAbsent(refusal) || isConflict(refusal));
  }

  /** Deletes it with what it owns, and only the one with this uid; that it is not there is silent. */
  async remove(path: string, uid: string | undefined, doing: string, signal: AbortSignal): Promise<void> {
    const body = {
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      propagationPolicy: 'Background',
      ...(uid === undefined ? {} : { preconditions: { uid } }),
    };
    const silent = (refusal: KubernetesRefusal) => isAbsent(refusal) || isConflict(refusal);
    await this.ask({ method: 'DELETE', path, body, doing, changes: true, signal }, silent);
  }

  /** What a watch tells of this path; it ends when nobody asks for long, or with `close`. */
  mirror<T extends KubernetesObject>(path: string, query: Query, clock: Clock, limits?: MirrorLimits): Mirror<T> {
    const mirror = new Mirror<T>(this.#api, path, query, clock, limits);
    this.#mirrors.push(mirror as unknown as Mirror<never>);
    return mirror;
  }

  async close(): Promise<void> {
    for (const mirror of this.#mirrors.splice(0)) mirror.close();
    await this.#api.close();
  }
}

export function isAbsent(refusal: KubernetesRefusal): boolean {
  return refusal.status === 404 && !/^namespaces "/.test(refusal.message);
}

/** Somebody has it already. */
export function isTaken(refusal: KubernetesRefusal): boolean {
  return refusal.status === 409 && refusal.reason === 'AlreadyExists';
}

/** Somebody changed it, or made another of the name, since it was read. */
function isConflict(refusal: KubernetesRefusal): boolean {
  return refusal.status === 409 && refusal.reason === 'Conflict';
}

function answered<T>(
  call: { readonly doing: string; readonly changes?: boolean; readonly signal?: AbortSignal },
  work: () => Promise<T>,
): Promise<T>;
function answered<T>(
  call: { readonly doing: string; readonly changes?: boolean; readonly signal?: AbortSignal },
  work: () => Promise<T>,
  silent: (refusal: KubernetesRefusal) => boolean,
): Promise<T | undefined>;
async function answered<T>(
  {
    doing,
    changes = false,
    signal,
  }: { readonly doing: string; readonly changes?: boolean; readonly signal?: AbortSignal },
  work: () => Promise<T>,
  silent: (refusal: KubernetesRefusal) => boolean = () => false,
): Promise<T | undefined> {
  if (signal?.aborted === true) throw new ProviderError('transient', `stopped before ${doing}`);
  try {
    return await work();
  } catch (error) {
    if (error instanceof KubernetesRefusal && silent(error)) return undefined;
    throw providerErrorOf(error, doing, changes);
  }
}
