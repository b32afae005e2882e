import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { OperatingError } from '../core/operating-error.ts';
import { RefusedInput, refuse } from '../core/refusal.ts';
import { Secret } from './secret.ts';

const MAX_SECRET_BYTES = 64 * 1024;

/**
 * Reads a file that only its owner (or root) may read. Throws RefusedInput where group or others may read it or it is not a
 * regular file, OperatingError `part-missing` where it is absent. `field` names it in the refusal. No content is ever told.
 */
export async function readPrivateFile(path: string, field: string): Promise<Buffer> {
  let handle: FileHandle;
  try {
    // Not blocking: a FIFO that nobody writes to would hold up the start for ever.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw new OperatingError('part-missing', 'never', `reading ${path}`, {
      cause,
      mend: `make the file, or mend ${field}`,
    });
  }
  try {
    const facts = await handle.stat();
    if (!facts.isFile()) throw refused(field, `${path} is not a regular file`, 'name a file');
    if ((facts.mode & 0o077) !== 0) {
      throw refused(field, `${path} can be read by others than its owner`, `chmod 600 ${path}`);
    }
    if (facts.size > MAX_SECRET_BYTES) throw refused(field, `${path} is larger than a secret`, 'name another file');
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

/** As readPrivateFile, for a password or token: one trailing newline is trimmed; anything else of control or blank is refused. */
export async function readSecretFile(path: string, field: string): Promise<Secret> {
  const text = (await readPrivateFile(path, field)).toString('utf8').replace(/\r?\n$/, '');
  if (!/^[\x21-\x7e]+$/.test(text)) {
    throw refused(field, `${path} does not hold one line of printable characters`, 'write the secret alone into it');
  }
  return new Secret(text);
}

function refused(field: string, problem: string, mend: string): RefusedInput {
  return new RefusedInput([refuse('secret_file', field, problem, mend)]);
}
