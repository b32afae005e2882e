import { RefusedInput } from '../../../core/refusal.ts';
import { loadConfig, type ServerConfig } from '../../../platform/config.ts';
import { openPostgresEventLog } from '../../../platform/event-log-postgres.ts';
import { openObjectStore } from '../../../platform/object-store-config.ts';
import { openDatabase } from '../../../platform/postgres.ts';
import { generationOf } from '../../../scoring/archive/generation.ts';
import { restoreLog } from '../../../scoring/archive/restore-log.sql.ts';
import { REPORTS_TOPIC } from '../../../scoring/ingest/report-log.ts';
import { CliError, EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';

/** Puts back what the archive holds of the report log behind a database that was restored to an earlier time. Repeatable; before the server starts. */
export default async function restoreLogCommand({ io }: Invocation): Promise<number> {
  const { database, eventLog, objectStore } = await configuration(io.env, io.cwd);
  if (eventLog.kind !== 'embedded')
    throw new CliError(
      EXIT.badConfiguration,
      'not_embedded',
      'the report log is Kafka’s, and was not restored with the database',
      {
        mend: 'start the server: what Kafka still holds behind the restored positions is read again',
      },
    );
  if (database.kind !== 'external')
    throw new CliError(EXIT.badConfiguration, 'no_database', 'ENGINE_DATABASE_URL is not set', {
      mend: 'set DATABASE_URL and ENGINE_DATABASE_URL to those of the restored database',
    });
  const store = await openObjectStore(objectStore);
  const { appUrl, engineUrl } = database;
  const db = openDatabase({ appUrl: appUrl.reveal(), engineUrl: engineUrl.reveal(), maxConnections: 2 });
  const log = openPostgresEventLog({ db, appendAs: 'engine' });
  try {
    const generation = await generationOf(db, log, REPORTS_TOPIC);
    const partitions = await log.partitions(REPORTS_TOPIC);
    if (partitions.length === 0)
      io.note('this database has no report log, so nothing was put back: is it the restored one?');
    for (const partition of partitions) {
      const { messages, segments } = await restoreLog(db, store, { topic: REPORTS_TOPIC, generation, partition });
      io.note(`partition ${partition}: ${messages} messages put back from ${segments} segments`);
    }
  } finally {
    await log.close();
    await db.close();
  }
  return EXIT.ok;
}

async function configuration(env: Invocation['io']['env'], cwd: string): Promise<ServerConfig> {
  try {
    return await loadConfig({ env, cwd });
  } catch (error) {
    if (!(error instanceof RefusedInput)) throw error;
    throw new CliError(EXIT.badConfiguration, 'configuration', error.message, {
      mend: 'mend the configuration; nothing was put back',
    });
  }
}
