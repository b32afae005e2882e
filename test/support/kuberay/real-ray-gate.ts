import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import type { TestRay } from '../ray.ts';
import type { KubeRayWorld } from './world.ts';

interface Submission {
  readonly submission_id: string;
  readonly runtime_env?: { working_dir?: string; py_modules?: string[] };
}

/**
 * What stands between a namespace's dashboards and one real Ray: it takes each cluster's own token, hands on Ray's in the header that KubeRay uses, and puts
 * packages where Ray finds them, as the volumes of pods would.
 */
export class RealRayGate {
  readonly #world: KubeRayWorld;
  readonly #ray: TestRay;
  readonly #server = createServer((incoming, outgoing) => {
    this.#answer(incoming, outgoing).catch((error) => outgoing.writeHead(500).end(String(error)));
  });
  #dir = '';

  constructor(world: KubeRayWorld, ray: TestRay) {
    this.#world = world;
    this.#ray = ray;
  }

  async listen(): Promise<this> {
    this.#dir = await mkdtemp(join(tmpdir(), 'merit-real-ray-gate-'));
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    await rm(this.#dir, { recursive: true, force: true });
  }

  async #answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const [, , service = '', ...rest] = (incoming.url ?? '').split('/');
    const cluster = service.replace(/-head-svc$/, '');
    if (!this.#world.pods.isUp(cluster)) return void incoming.socket.destroy();
    const token = await this.#world.token(cluster);
    if (token === undefined || incoming.headers['x-ray-authorization'] !== `Bearer ${token}`)
      return void outgoing.writeHead(401).end();
    const body = await this.#mounted(await buffer(incoming));
    const headers = { 'x-ray-authorization': `Bearer ${this.#ray.token}`, 'content-type': 'application/json' };
    // Not by `fetch`, which looks like a browser to Ray.
    const url = new URL(`${this.#ray.address}/${rest.join('/')}`);
    const onward = request(url, { method: incoming.method, headers: { ...headers, 'content-length': body.length } });
    onward.on('error', () => incoming.socket.destroy());
    onward.on('response', (reply) => {
      outgoing.writeHead(reply.statusCode ?? 502);
      reply.pipe(outgoing);
    });
    onward.end(body);
  }

  async #mounted(body: Buffer): Promise<Buffer> {
    const asked = (body.length === 0 ? {} : JSON.parse(body.toString())) as Partial<Submission>;
    if (asked.submission_id === undefined || asked.runtime_env === undefined) return body;
    const key = asked.submission_id;
    const { working_dir: workdir, py_modules: modules } = asked.runtime_env;
    const put = async (uri: string) => {
      const file = join(this.#dir, uri.split('/').at(-1) ?? '');
      await writeFile(file, await this.#world.packageBytes(key, uri));
      return `file://${file}`;
    };
    if (workdir !== undefined) asked.runtime_env.working_dir = await put(workdir);
    if (modules !== undefined) asked.runtime_env.py_modules = await Promise.all(modules.map(put));
    return Buffer.from(JSON.stringify(asked));
  }
}
