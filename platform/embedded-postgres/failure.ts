import { OperatingError } from '../../core/operating-error.ts';

/** What Postgres said, as an error that names the mend. */
export function explainFailure(said: string, dataDir: string, cause?: unknown): OperatingError {
  const lines = said
    .split('\n')
    .filter((line) => /FATAL|PANIC|error|could not|incompatible|No space|not found/i.test(line));
  const why = cause ?? (lines.slice(-4).join(' · ') || said.trim().slice(-500));
  const doing = `starting Postgres on ${dataDir}`;
  const fault = (code: OperatingError['code'], mend: string) =>
    new OperatingError(code, 'safe', doing, { cause: why, mend });
  if (/shared memory/i.test(said) && /No space left|Cannot allocate/i.test(said)) {
    return fault('capacity', 'give this container more shared memory (docker run --shm-size=256m)');
  }
  if (/No space left on device|ENOSPC|Disk quota exceeded|EDQUOT/i.test(said))
    return fault('storage', 'free disk space there, then start again');
  if (/Address already in use|could not bind|could not create any TCP/i.test(said))
    return fault('conflict', 'another program uses the port: stop it, or choose another port');
  if (/incompatible with server|initialized by PostgreSQL version/i.test(said))
    return fault(
      'conflict',
      'the data folder is of another Postgres version: move it away, or start it with the Merit that made it',
    );
  if (/lock file "postmaster.pid" (already exists|is empty)|pre-existing shared memory block/i.test(said))
    return fault('conflict', 'another Postgres holds the data folder: end it, then start again');
  if (/GLIBC|cannot open shared object|ENOENT|not found/i.test(said))
    return fault(
      'part-missing',
      'the shipped Postgres does not run on this system: set DATABASE_URL, ENGINE_DATABASE_URL and MIGRATE_DATABASE_URL to a Postgres of yours',
    );
  if (/Permission denied|EACCES|EPERM/i.test(said))
    return fault('storage', 'the user that Postgres runs as must be able to reach and own the data folder');
  return fault('database', 'read postgres.log in the state folder');
}
