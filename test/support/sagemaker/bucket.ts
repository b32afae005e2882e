import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

/** As much of S3 as staging needs: look, put where nothing is, list nothing. Objects by `bucket/key`. */
export class Bucket {
  readonly objects = new Map<string, Buffer>();
  readonly #server = createServer((request, response) => {
    this.#answer(request, response).catch(() => request.socket.destroy());
  });
  url = '';

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** What lies below `s3://bucket/prefix/`, by the rest of its name. */
  below(uri: string): ReadonlyMap<string, Buffer> {
    const prefix = uri.slice('s3://'.length);
    const found = [...this.objects].filter(([name]) => name.startsWith(prefix));
    return new Map(found.map(([name, bytes]) => [name.slice(prefix.length), bytes]));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await buffer(request);
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://127.0.0.1');
    const name = decodeURIComponent(pathname.slice(1)).replace(/\/$/, '');
    if (searchParams.has('list-type')) {
      const text = `<?xml version="1.0"?><ListBucketResult><Name>${name}</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>`;
      return void response.writeHead(200, { 'content-type': 'application/xml' }).end(text);
    }
    const there = this.objects.get(name);
    if (request.method === 'PUT') {
      if (there !== undefined && request.headers['if-none-match'] === '*')
        return void response.writeHead(412).end('<Error><Code>PreconditionFailed</Code></Error>');
      this.objects.set(name, body);
      return void response.writeHead(200).end();
    }
    if (there === undefined) return void response.writeHead(404).end();
    const sum = createHash('sha256').update(there).digest('base64');
    response.writeHead(200, { 'content-length': there.length, 'x-amz-checksum-sha256': sum });
    response.end(request.method === 'HEAD' ? undefined : there);
  }
}
