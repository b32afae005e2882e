import { once } from 'node:events';
import { createServer } from 'node:net';
import { OperatingError } from '../../core/operating-error.ts';

export interface Endpoint {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

/** Listens, or says what stands in the way and the mend. Throws OperatingError `conflict`. */
export async function told<T>({ host, port }: Endpoint, listen: () => Promise<T>): Promise<T> {
  try {
    return await listen();
  } catch (cause) {
    const used = (cause as { code?: unknown }).code === 'EADDRINUSE';
    throw new OperatingError('conflict', 'never', `listening on ${host}:${port}`, {
      cause: used ? 'the port is in use' : cause,
      mend: used ? `stop what listens there, or start with --port ${port + 1}` : 'choose another host or port',
    });
  }
}

/** Looks before anything is started: a port that is taken is told at once, not after Postgres is up. Throws OperatingError. */
export async function requireFreePort(endpoint: Endpoint): Promise<void> {
  if (endpoint.port === 0) return;
  await told(endpoint, async () => {
    const probe = createServer();
    const listening = once(probe, 'listening');
    probe.listen(endpoint);
    await listening;
    probe.close();
    await once(probe, 'close');
  });
}
