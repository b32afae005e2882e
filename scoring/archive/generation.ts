import type { EventLog } from '../../platform/event-log.ts';
import type { Database } from '../../platform/postgres.ts';
import { archiveLife, loadLayout } from '../ingest/layout.sql.ts';

/** Names this life of a topic in the archive: of one that was deleted and made anew, offsets mean other messages. */
export async function generationOf(db: Database, eventLog: EventLog, topic: string): Promise<string> {
  const identity = await eventLog.identity(topic);
  const layout = await db.asEngine((tx) => loadLayout(tx, topic));
  // Of one that is another by now the consumer has not noticed yet.
  const isKnown = layout?.identity === identity;
  return (isKnown ? layout?.life : undefined) ?? archiveLife(identity);
}
