import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { ALL } from '../all.ts';
import { type Harness, openHarness } from './harness.ts';
import type { Instance } from './place.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Where test files ask for parts: see `use.ts`. */
    partsSocket: string;
  }
}

/** The run's harness, behind a socket: a part is started by the first test file that asks for it, and shared by all. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const harness = await openHarness();
  const socket = join(harness.dir, 'harness.sock');
  const server = serve(harness);
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  project.provide('partsSocket', socket);
  return async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await harness.close();
  };
}

/** `POST /shared/NAME` answers facts, `POST /own/NAME` id and facts, `DELETE /own/ID` ends one. */
function serve(harness: Harness): Server {
  const owned = new Map<string, Instance>();
  let count = 0;
  const answer = async ({ method, url }: IncomingMessage): Promise<unknown> => {
    const [, kind, name = ''] = (url ?? '').split('/');
    if (method === 'DELETE') {
      await owned.get(name)?.stop();
      owned.delete(name);
      return {};
    }
    const part = ALL.find((one) => one.name === name);
    if (part === undefined) throw new Error(`there is no part ${name}: name it in test/parts/all.ts`);
    if (kind === 'shared') return { facts: await harness.shared(part) };
    const instance = await harness.own(part);
    const id = String(++count);
    owned.set(id, instance);
    return { id, facts: instance.facts };
  };
  const reply = (response: ServerResponse, status: number, value: unknown) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  return createServer((request, response) => {
    answer(request).then(
      (value) => reply(response, 200, value),
      (error: Error) => reply(response, 500, { error: error.message }),
    );
  });
}
