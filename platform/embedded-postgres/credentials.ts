import { randomBytes } from 'node:crypto';
import { chmod, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { OperatingError } from '../../core/operating-error.ts';
import { SERVER_ROLES, type ServerRole } from '../bootstrap.ts';
import { replaceFileSync } from '../processes.ts';

/** Kept as postgres.json in the state folder, 0600: the port and the roles' random passwords. */
export interface Credentials {
  readonly v: 1;
  readonly port: number;
  readonly passwords: Readonly<Record<'merit_admin' | ServerRole, string>>;
}

export function credentialsPath(stateDir: string): string {
  return join(stateDir, 'postgres.json');
}

export function newCredentials(port: number): Credentials {
  const password = () => randomBytes(24).toString('base64url');
  const passwords = Object.fromEntries(['merit_admin', ...SERVER_ROLES].map((role) => [role, password()]));
  return { v: 1, port, passwords: passwords as Credentials['passwords'] };
}

export function writeCredentials(stateDir: string, credentials: Credentials): Credentials {
  replaceFileSync(credentialsPath(stateDir), `${JSON.stringify(credentials, null, 2)}\n`);
  return credentials;
}

export async function readCredentials(options: {
  readonly stateDir: string;
  readonly dataDir: string;
}): Promise<Credentials | undefined> {
  const path = credentialsPath(options.stateDir);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
    await chmod(path, 0o600);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new OperatingError('storage', 'safe', `reading ${path}`, { cause });
  }
  try {
    const value = JSON.parse(text) as Credentials;
    const whole =
      value.v === 1 &&
      Number.isSafeInteger(value.port) &&
      SERVER_ROLES.every((role) => typeof value.passwords[role] === 'string');
    if (whole && typeof value.passwords.merit_admin === 'string') return value;
  } catch {
    // Told below, without the file's content: it holds passwords.
  }
  throw new OperatingError('storage', 'never', `reading ${path}`, {
    cause: 'it is not what Merit wrote there',
    mend: `put the file back from a backup, or move it and ${options.dataDir} away to begin anew`,
  });
}
