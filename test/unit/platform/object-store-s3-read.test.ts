import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openS3ObjectStore } from '../../../platform/object-store/s3.ts';

/** A simulator of the two answers that this takes: an empty list, and an object that does not fit into what sockets hold. */
const sockets = new Set<Socket>();
const object = Buffer.alloc(20_000_000);
const server = createServer((request, response) => {
  if (request.url?.includes('list-type') === true) response.end('<ListBucketResult></ListBucketResult>');
  else response.writeHead(200, { 'content-length': object.length, etag: '"e"' }).end(object);
});
server.on('connection', (socket) => {
  sockets.add(socket);
  socket.on('close', () => sockets.delete(socket));
});

beforeEach(async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'key');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'secret');
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

test('a stream that is dropped before it is read lets its connection go at once, not when it has idled long enough', async () => {
  const store = await openS3ObjectStore({
    bucket: 'models',
    prefix: '',
    region: 'us-east-1',
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    pathStyle: true,
    profile: undefined,
  });
  for (let n = 0; n < 5; n++) (await store.get('a'))?.destroy();
  await expect.poll(() => sockets.size, { timeout: 15_000 }).toBe(0);
});
