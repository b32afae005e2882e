import { type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { KubernetesRefusal } from '../../platform/kubernetes/refusal.ts';
import { type Ask, type Cluster, isAbsent } from '../kubernetes/cluster.ts';
import { providerErrorOf } from '../kubernetes/errors.ts';
import { ProviderError } from '../provider.ts';
import type { KubeRayConfig } from './config.ts';
import type { RayJobObject } from './ray-job.ts';

/** Ray sends a log whole; what is longer is not read. */
const LOG_LIMIT_BYTES = 64 * 1024 * 1024;
const ANSWER_LIMIT_BYTES = 1024 * 1024;
const CALL_TIMEOUT_MS = 30_000;
/** Tokens of clusters, of 100 bytes each; the oldest are forgotten, and read anew. */
const TOKENS_LIMIT = 1_000;

/** The dashboard of one job's cluster. */
interface Whereabouts {
  readonly namespace: string;
  readonly rayCluster: string;
  readonly service: string;
}

/**
 * Ray's Jobs API of the clusters that KubeRay made, as far as KubeRay does not speak to it itself: logs and stops. By the API server's proxy of services,
 * so that whoever reaches Kubernetes reaches it; or at its own address, where the pool says which.
 */
export class Dashboards {
  readonly #cluster: Cluster;
  readonly #template: string | undefined;
  readonly #isOpen: boolean;
  readonly #tokens = new Map<string, string>();

  constructor(cluster: Cluster, { dashboards, allowUnauthenticated = false }: KubeRayConfig) {
    this.#cluster = cluster;
    this.#template = dashboards;
    this.#isOpen = allowUnauthenticated;
  }

  /** The whole log; undefined: the cluster, or the job in it, is not there (yet, or any more). Throws ProviderError. */
  async log(namespace: string, job: RayJobObject, signal: AbortSignal): Promise<Buffer | undefined> {
    const doing = `reading the log of ${job.metadata.name}`;
    const bytes = await this.#ask(namespace, job, 'GET', '/logs', doing, LOG_LIMIT_BYTES, signal);
    if (bytes === undefined) return undefined;
    const logs = parsed(bytes)?.logs;
    if (typeof logs === 'string') return Buffer.from(logs, 'utf8');
    throw new ProviderError(
      'transient',
      `${doing}: Ray answered what is no log, or one above ${LOG_LIMIT_BYTES} bytes`,
    );
  }

  /** SIGTERM to the job, and SIGKILL after its grace; that it is not there is silent. Throws ProviderError. */
  async stop(namespace: string, job: RayJobObject, signal: AbortSignal): Promise<void> {
    const doing = `stopping ${job.metadata.name} in Ray`;
    await this.#ask(namespace, job, 'POST', '/stop', doing, ANSWER_LIMIT_BYTES, signal);
  }

  async #ask(
    namespace: string,
    job: RayJobObject,
    method: 'GET' | 'POST',
    verb: string,
    doing: string,
    limitBytes: number,
    signal: AbortSignal,
  ): Promise<Buffer | undefined> {
    const rayCluster = job.status?.rayClusterName;
    const service = job.status?.dashboardURL?.split('.')[0];
    if (rayCluster === undefined || service === undefined || service === '') return undefined;
    const at = { namespace, rayCluster, service };
    const path = `/api/jobs/${job.metadata.name}${verb}`;
    const token = this.#isOpen ? undefined : await this.#token(at, signal);
    if (token === undefined && !this.#isOpen) return undefined;
    // KubeRay asks so, too: Kubernetes' own proxy keeps the usual header to itself.
    const headers = token === undefined ? {} : { 'x-ray-authorization': `Bearer ${token}` };
    if (this.#template !== undefined)
      return direct(addressOf(this.#template, at), path, method, headers, doing, limitBytes, signal);
    const proxy = `/api/v1/namespaces/${namespace}/services/http:${service}:dashboard/proxy${path}`;
    const call = { method, path: proxy, headers, doing, changes: method === 'POST', signal } as const;
    return this.#proxied(call, limitBytes);
  }

  /** 404: the service or the job is not there; 503: the service has no pod that is ready. */
  async #proxied(call: Ask, limitBytes: number): Promise<Buffer | undefined> {
    try {
      return Buffer.from(await this.#cluster.bytes(call, limitBytes));
    } catch (error) {
      const refusal = error instanceof ProviderError ? error.cause : undefined;
      if (refusal instanceof KubernetesRefusal && (isAbsent(refusal) || refusal.status === 503)) return undefined;
      throw error;
    }
  }

  /** The token that KubeRay made for this cluster: a Secret of its name. undefined: there is none (yet, or any more). */
  async #token({ namespace, rayCluster }: Whereabouts, signal: AbortSignal): Promise<string | undefined> {
    const known = this.#tokens.get(rayCluster);
    if (known !== undefined) return known;
    const path = `/api/v1/namespaces/${namespace}/secrets/${rayCluster}`;
    const doing = `reading the token of the RayCluster ${rayCluster}`;
    const secret = await this.#cluster.find<{ readonly data?: { readonly auth_token?: string } }>(path, doing, signal);
    const encoded = secret?.data?.auth_token;
    if (encoded === undefined) return undefined;
    const token = Buffer.from(encoded, 'base64').toString('utf8');
    this.#tokens.set(rayCluster, token);
    if (this.#tokens.size > TOKENS_LIMIT)
      for (const oldest of this.#tokens.keys()) {
        this.#tokens.delete(oldest);
        break;
      }
    return token;
  }
}

function addressOf(template: string, { namespace, service }: Whereabouts): string {
  return template.replaceAll('{service}', service).replaceAll('{namespace}', namespace).replace(/\/$/, '');
}

async function direct(
  address: string,
  path: string,
  method: 'GET' | 'POST',
  headers: Readonly<Record<string, string>>,
  doing: string,
  limitBytes: number,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  const changes = method === 'POST';
  try {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(CALL_TIMEOUT_MS)]);
    const reply = await send(new URL(`${address}${path}`), method, headers, limitBytes, limit);
    if (reply.status === 404 || reply.status === 503) return undefined;
    if (reply.status >= 200 && reply.status < 300) return reply.bytes;
    const code = reply.status === 401 || reply.status === 403 ? 'auth' : 'transient';
    throw new ProviderError(code, `${doing}: Ray answered ${reply.status}`, {
      effect: changes && reply.status >= 500 ? 'unknown' : 'none',
    });
  } catch (error) {
    throw providerErrorOf(error, doing, changes);
  }
}

/** Not by `fetch`: Ray answers 405 to whatever looks like a browser, as its headers do. */
function send(
  url: URL,
  method: string,
  headers: Readonly<Record<string, string>>,
  limitBytes: number,
  signal: AbortSignal,
) {
  return new Promise<{ readonly status: number; readonly bytes: Buffer }>((resolve, reject) => {
    const request = url.protocol === 'https:' ? requestHttps : requestHttp;
    const asked = request(url, { method, headers, signal }, (reply) => {
      beginning(reply, limitBytes).then((bytes) => resolve({ status: reply.statusCode ?? 0, bytes }), reject);
    });
    asked.on('error', reject);
    asked.end();
  });
}

/** What answers runs in the job's own image: beyond the limit nothing is read, and the connection is cut. */
async function beginning(reply: IncomingMessage, limitBytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of reply as AsyncIterable<Buffer>) {
    parts.push(part);
    length += part.length;
    if (length >= limitBytes) break;
  }
  return Buffer.concat(parts).subarray(0, limitBytes);
}

function parsed(bytes: Buffer): { readonly logs?: unknown } | undefined {
  try {
    return JSON.parse(bytes.toString('utf8')) as { readonly logs?: unknown };
  } catch {
    return undefined;
  }
}
