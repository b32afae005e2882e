import type { EventLog } from '../../platform/event-log.ts';

/** A topic of a log that cannot tell its lives apart has one. */
const ONLY_GENERATION = 'one';

/** Names this life of a topic: of one that was deleted and made anew, offsets mean other messages. */
export async function generationOf(eventLog: EventLog, topic: string): Promise<string> {
  return (await eventLog.identity(topic)) ?? ONLY_GENERATION;
}
