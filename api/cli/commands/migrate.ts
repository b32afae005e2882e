import { CliError, EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';

/** Forward only. Two at once: one runs, the other ends with 5. */
export default async function migrateCommand({ io }: Invocation): Promise<number> {
  const ownerUrl = io.env.MIGRATE_DATABASE_URL;
  if (ownerUrl === undefined || ownerUrl === '') {
    throw new CliError(EXIT.badConfiguration, 'no_database', 'MIGRATE_DATABASE_URL is not set', {
      mend: 'set it to the URL of merit_owner; the embedded database is migrated by "merit start"',
    });
  }
  const { migrate } = await import('../../../platform/migrate.ts');
  const { applied } = await migrate({ ownerUrl });
  io.note(applied.length === 0 ? 'the database is at this version already' : `applied: ${applied.join(', ')}`);
  return EXIT.ok;
}
