import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';

/** The spec of a lease as Kubernetes stores it. */
export interface StoredSpec {
  readonly holderIdentity?: string;
  readonly leaseDurationSeconds?: number;
  readonly acquireTime?: string;
  readonly renewTime?: string;
  readonly leaseTransitions?: number;
}

interface Stored {
  readonly metadata: { readonly name: string; readonly resourceVersion: string; readonly labels?: unknown };
  readonly spec: StoredSpec;
}

/** Of the next request that matches: answered with a status, never answered, or done and then cut. */
export type Fault = { readonly status: number; readonly message?: string } | 'silent' | 'reply-lost';

/** A simulator of the leases of one namespace, `ml`, with Kubernetes' optimistic concurrency; the real one is a part of `npm run test:parts`. */
export interface LeaseApi {
  readonly url: string;
  get(name: string): Stored | undefined;
  /** Writes as another client would. */
  set(name: string, spec: StoredSpec, labels?: unknown): void;
  delete(name: string): void;
  /** The next `times` requests of the method fail so. */
  fail(method: string, fault: Fault, times?: number): void;
  /** Called once before the next write is judged: what another client does just then. */
  beforeWrite(work: () => void): void;
  /** Requests that came, as `PUT`. */
  readonly seen: readonly string[];
  close(): Promise<void>;
}

const PATH = /^\/apis\/coordination\.k8s\.io\/v1\/namespaces\/ml\/leases(?:\/([a-z-]+))?$/;

export async function startLeaseApi(): Promise<LeaseApi> {
  const leases = new Map<string, Stored>();
  const faults: { method: string; fault: Fault; times: number }[] = [];
  const seen: string[] = [];
  let version = 0;
  let before: (() => void) | undefined;
  const write = (name: string, spec: StoredSpec, labels?: unknown) => {
    const metadata = { name, resourceVersion: String(++version), ...(labels === undefined ? {} : { labels }) };
    leases.set(name, { metadata, spec });
    return leases.get(name);
  };
  const answer = async (request: IncomingMessage): Promise<readonly [number, unknown]> => {
    const match = PATH.exec(request.url ?? '');
    if (match === null) return [404, { message: 'namespaces not found' }];
    if (request.method === 'GET') {
      const lease = leases.get(match[1] ?? '');
      return lease === undefined ? [404, { message: 'lease not found' }] : [200, lease];
    }
    const body = (await json(request)) as Stored;
    const work = before;
    before = undefined;
    work?.();
    const { name, resourceVersion, labels } = body.metadata;
    const stands = leases.get(name);
    if (request.method === 'POST')
      return stands === undefined ? [201, write(name, body.spec)] : [409, { message: 'already exists' }];
    if (stands === undefined) return [404, { message: 'lease not found' }];
    if (stands.metadata.resourceVersion !== resourceVersion) return [409, { message: 'the object has been modified' }];
    return [200, write(name, body.spec, labels)];
  };
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const method = request.method ?? '';
    seen.push(method);
    const order = faults.find((one) => one.times > 0 && one.method === method);
    if (order !== undefined) order.times--;
    const fault = order?.fault;
    if (fault === 'silent') return;
    const [status, body] =
      typeof fault === 'object' ? [fault.status, { message: fault.message }] : await answer(request);
    if (fault === 'reply-lost') request.socket.destroy();
    else response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
  const server = createServer((request, response) => {
    serve(request, response).catch(() => request.socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get: (name) => leases.get(name),
    set: write,
    delete: (name) => leases.delete(name),
    fail: (method, fault, times = 1) => faults.push({ method, fault, times }),
    beforeWrite: (work) => {
      before = work;
    },
    seen,
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
