import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Debian keeps some daemons where a user's PATH does not look. */
const MORE_FOLDERS = ['/usr/sbin', '/sbin'];

/** The path of a command that a Debian package installs; undefined: there is none. */
export function findCommand(command: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...MORE_FOLDERS];
  return folders.map((folder) => join(folder, command)).find((path) => existsSync(path));
}

/** What tests are told where the command is not there; undefined where it is. `.ci/run` installs the same packages. */
export function commandMissing(command: string, debianPackage: string): string | undefined {
  return findCommand(command) === undefined ? `there is no ${command}: apt-get install ${debianPackage}` : undefined;
}
