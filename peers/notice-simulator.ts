import { contentHash, type Json } from '../core/canonical.ts';
import { check, type TSchema } from '../core/schema.ts';
import {
  type PeerServer,
  problemAnswer,
  type Route,
  refusedAnswer,
  type SimulatorTls,
  startPeerServer,
} from './simulator-server.ts';

/** A peer that is told things, each once by its id. */
export interface NoticeSimulator<T> extends PeerServer {
  /** What it was told, in the order in which it came. */
  readonly told: readonly T[];
}

export interface NoticeSimulatorOptions {
  readonly tls?: SimulatorTls | undefined;
  readonly port?: number;
}

interface Told {
  readonly name: string;
  readonly path: RegExp;
  readonly schema: TSchema;
}

/** A route by which a peer is told things, and what it was told. */
export function noticeRoute<T>(of: Told): { readonly route: Route; told(): readonly T[] } {
  const told = new Map<string, T>();
  const route: Route = {
    name: of.name,
    method: 'POST',
    path: of.path,
    handle: ({ body }) => {
      const refusals = check(of.schema, body);
      if (refusals.length > 0) return refusedAnswer(refusals);
      const id = String(body.id);
      const before = told.get(id);
      if (before !== undefined && contentHash(before as Json) !== contentHash(body))
        return problemAnswer(409, 'differs', 'something else was told under this id');
      if (before === undefined) told.set(id, body as T);
      return { status: 200, body: { id } };
    },
  };
  return { route, told: () => [...told.values()] };
}

export async function startNoticeSimulator<T>(of: Told, options: NoticeSimulatorOptions): Promise<NoticeSimulator<T>> {
  const { route, told } = noticeRoute<T>(of);
  const server = await startPeerServer([route], options);
  return {
    ...server,
    get told() {
      return told();
    },
  };
}
