import { existsSync } from 'node:fs';
import type { KubeConfig, Observable, ObservableMiddleware, RequestContext } from '@kubernetes/client-node';
import type { Dispatcher as UndiciDispatcher } from 'undici';
import { OperatingError } from '../core/operating-error.ts';
import { isLoopbackHost } from './loopback.ts';

/** A connection, with the certificates it was made with, is used for so long: those on disk may have been replaced by then. */
const CONNECTION_MS = 300_000;

/** How Kubernetes is reached: by a kubeconfig, or (undefined) as the service account of the pod that this runs in. */
export interface KubernetesAccess {
  readonly kubeconfig: string | undefined;
  /** Of the kubeconfig; absent: its current one. */
  readonly context?: string;
  /** Where a pod's files are; only tests say it. */
  readonly podRoot?: string;
}

export interface Kubernetes {
  /** Of the pod, or of the kubeconfig's context; undefined where neither says one. */
  readonly namespace: string | undefined;
  /** Makes a client of one of its API groups, as `config.makeApiClient(CoordinationV1Api)`. */
  readonly config: KubeConfig;
  /** What each call is given: it fails past the time, and shares connections with the others. */
  within(timeoutMs: number): CallOptions;
}

export interface CallOptions {
  readonly middleware: ObservableMiddleware[];
  readonly middlewareMergeStrategy: 'append';
}

/** Reads how Kubernetes is reached; asks it nothing yet. Throws OperatingError `auth` with the mend. */
export async function openKubernetes(access: KubernetesAccess): Promise<Kubernetes> {
  // Here and not above: it takes 2 s and 90 MB, and nobody without Kubernetes needs it.
  const { KubeConfig: Config, Observable: Later } = await import('@kubernetes/client-node');
  const config = new Config();
  const from = access.kubeconfig ?? 'the service account of this pod';
  const refuse = (cause: unknown, mend: string) =>
    new OperatingError('auth', 'never', `reading how Kubernetes is reached from ${from}`, { cause, mend });
  try {
    if (access.kubeconfig !== undefined) config.loadFromFile(access.kubeconfig);
    else loadPod(config, access.podRoot ?? '');
  } catch (cause) {
    throw refuse(cause, 'name a kubeconfig in KUBECONFIG, or run in a pod whose service account token is mounted');
  }
  if (access.context !== undefined) {
    if (config.getContextObject(access.context) === null)
      throw refuse(`it has no context ${access.context}`, 'name one of kubectl config get-contexts');
    config.setCurrentContext(access.context);
  }
  const cluster = config.getCurrentCluster();
  const server = cluster !== null && URL.canParse(cluster.server) ? new URL(cluster.server) : undefined;
  if (cluster === null || server === undefined)
    throw refuse('its context names no cluster', 'set one with kubectl config use-context');
  if ((cluster.skipTLSVerify || server.protocol !== 'https:') && !isLoopbackHost(server.hostname))
    throw refuse(
      `${server.host} would not be verified`,
      'give its certificate authority, and take insecure-skip-tls-verify out',
    );
  const { namespace } = (config.getContextObject(config.getCurrentContext()) ?? {}) as { namespace?: string };
  return {
    namespace: namespace === '' ? undefined : namespace,
    config,
    within: sharedConnections((value) => new Later(Promise.resolve(value))),
  };
}

function loadPod(config: KubeConfig, root: string): void {
  if ((process.env.KUBERNETES_SERVICE_HOST ?? '') === '') throw new Error('KUBERNETES_SERVICE_HOST is not set');
  const token = `${root}/var/run/secrets/kubernetes.io/serviceaccount/token`;
  if (!existsSync(token)) throw new Error(`there is no ${token}`);
  config.loadFromCluster(root);
}

type Dispatcher = NonNullable<ReturnType<RequestContext['getDispatcher']>>;

/**
 * The same connections, never of HTTP/2, which an API server would choose: Node sends without end, and without giving its thread back, where a stream of
 * it is cut at a bad moment (seen in SubmitRstStream, as nodejs/node#52952 has it), and every watch is cut one day.
 */
export function overHttp1<D extends Pick<UndiciDispatcher, 'compose'>>(dispatcher: D): D {
  return dispatcher.compose((dispatch) => (options, handler) => {
    const plain: typeof options & { readonly allowH2: boolean } = { ...options, allowH2: false };
    return dispatch(plain, handler);
  }) as unknown as D;
}

/** The client makes a pool of connections for each request, and a TLS handshake with it: here the first one serves those that follow. */
function sharedConnections(now: <T>(value: T) => Observable<T>): Kubernetes['within'] {
  let kept: { readonly dispatcher: Dispatcher; readonly since: number } | undefined;
  const share = (context: RequestContext): void => {
    const made = context.getDispatcher();
    if (made === undefined) return;
    const at = performance.now();
    if (kept === undefined || at - kept.since > CONNECTION_MS) {
      // Ends once what is under way on it has ended.
      void kept?.dispatcher.close().catch(() => {});
      kept = { dispatcher: overHttp1(made), since: at };
    }
    context.setDispatcher(kept.dispatcher);
  };
  return (timeoutMs) => ({
    middleware: [
      {
        pre: (context) => {
          share(context);
          context.setSignal(AbortSignal.timeout(timeoutMs));
          return now(context);
        },
        post: now,
      },
    ],
    middlewareMergeStrategy: 'append',
  });
}
