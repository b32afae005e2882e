import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from './client.ts';
import { CliError, EXIT } from './exit.ts';
import type { Io } from './io.ts';
import type { Row } from './render.ts';

export interface ReceivedEvent {
  /** Where the stream stands behind it. */
  readonly id: string;
  readonly type: string;
  readonly data: Row;
}

/** One block of a stream of server-sent events; without data it only moves the id on. */
interface Block {
  id: string | undefined;
  type: string;
  data: string | undefined;
}

/** A line of a stream longer than this is none of ours. */
const MAX_LINE_LENGTH = 1024 * 1024;

/** The blocks of a stream, by the rules of WHATWG HTML 9.2.6 for the fields that are used here. */
export async function* readBlocks(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Readonly<Block>> {
  const decoder = new TextDecoder('utf-8');
  let rest = '';
  let block: Block = { id: undefined, type: 'message', data: undefined };
  for await (const chunk of chunks) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > MAX_LINE_LENGTH)
      throw new CliError(EXIT.internal, 'bad_reply', 'a line of the stream never ends');
    for (const line of lines) {
      if (line !== '') {
        addField(block, line);
        continue;
      }
      if (block.id !== undefined || block.data !== undefined) yield block;
      block = { id: undefined, type: 'message', data: undefined };
    }
  }
}

function addField(block: Block, line: string): void {
  const colon = line.indexOf(':');
  if (colon < 0) return;
  const value = line.slice(colon + 1).replace(/^ /, '');
  switch (line.slice(0, colon)) {
    case 'id':
      block.id = value;
      break;
    case 'event':
      block.type = value;
      break;
    case 'data':
      block.data = block.data === undefined ? value : `${block.data}\n${value}`;
      break;
    // Comments, and what later servers may say.
  }
}

const COME_AGAIN_MS = 1_000;
/** While the server is away, a follower comes again this long before it gives up. */
const AWAY_LIMIT_MS = 60_000;

/**
 * Events as they come, without end. Where the stream breaks off it is opened again behind the last one, so that none is lost or
 * told twice. Throws CliError where it cannot be opened at all, or the server stays away.
 */
export async function* followEvents(
  client: Client,
  io: Io,
  path: string,
  after: string | undefined,
  signal: AbortSignal,
): AsyncGenerator<ReceivedEvent> {
  let last = after;
  let reached = false;
  let awaySinceMs: number | undefined;
  for (;;) {
    try {
      const chunks = await client.stream(path, last === undefined ? {} : { 'last-event-id': last });
      reached = true;
      awaySinceMs = undefined;
      for await (const block of readBlocks(chunks)) {
        last = block.id ?? last;
        if (block.data !== undefined) yield { id: last ?? '', type: block.type, data: JSON.parse(block.data) as Row };
      }
    } catch (error) {
      const away = error instanceof CliError && error.exitCode === EXIT.unreachable;
      awaySinceMs ??= performance.now();
      if (!away || !reached || performance.now() - awaySinceMs > AWAY_LIMIT_MS) throw error;
      io.progress('the stream broke off; going on behind the last event …');
    }
    await sleep(COME_AGAIN_MS, undefined, { signal });
  }
}
