import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, realpath, rename, rm, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { isJsonObject, parseJson } from '../../core/json.ts';
import { RefusedInput } from '../../core/refusal.ts';
import type { YamlReading } from '../../platform/yaml.ts';
import { CliError, EXIT } from './exit.ts';
import type { Io } from './io.ts';

/** Job, suite, pool, model and budget files. */
export const MAX_INPUT_FILE_BYTES = 1024 * 1024;

function refused(path: string, problem: string, mend: string): CliError {
  return new CliError(EXIT.badValue, 'file', `${JSON.stringify(path)} ${problem}`, { mend });
}

/** Why a file could not be opened, without a word of its content. */
function openFailure(path: string, error: unknown): CliError {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') return refused(path, 'does not exist', 'check the path');
  if (code === 'EACCES' || code === 'EPERM')
    return refused(path, 'may not be read by this user', 'check its permissions');
  if (code === 'EISDIR') return refused(path, 'is a folder', 'name a file');
  if (code === 'ELOOP') return refused(path, 'is a chain of links without an end', 'check the path');
  return refused(path, `could not be read (${code ?? 'unknown'})`, 'check the path');
}

async function readCapped(handle: FileHandle, path: string, maxBytes: number): Promise<Buffer> {
  const facts = await handle.stat();
  if (facts.isDirectory()) throw refused(path, 'is a folder', 'name a file');
  if (!facts.isFile()) throw refused(path, 'is not a regular file', 'name a regular file, or - for stdin');
  if (facts.size > maxBytes) throw refused(path, `is larger than ${maxBytes} bytes`, 'name the right file');
  const buffer = Buffer.allocUnsafe(Math.min(facts.size, maxBytes) + 1);
  let size = 0;
  for (;;) {
    const { bytesRead } = await handle.read(buffer, size, buffer.length - size);
    if (bytesRead === 0) return buffer.subarray(0, size);
    size += bytesRead;
    if (size === buffer.length)
      throw refused(path, 'grew while it was read, or is too large', 'run it again when it is written');
  }
}

async function readStream(stream: Readable, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += (chunk as Buffer).length;
    if (size > maxBytes) throw refused('-', `is larger than ${maxBytes} bytes`, 'pipe the right file');
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

/** A file's bytes, `-` for stdin. Only regular files, never more than the cap; a FIFO that nobody writes is refused at once. */
export async function readInputFile(io: Io, path: string, maxBytes: number = MAX_INPUT_FILE_BYTES): Promise<Buffer> {
  if (path === '-') return readStream(io.stdin, maxBytes);
  let handle: FileHandle;
  try {
    handle = await open(resolve(io.cwd, path), constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw openFailure(path, error);
  }
  try {
    return await readCapped(handle, path, maxBytes);
  } finally {
    await handle.close();
  }
}

/** A file that describes something, YAML or JSON, as an object. */
export async function readDescription(io: Io, path: string): Promise<Readonly<Record<string, unknown>>> {
  const bytes = await readInputFile(io, path);
  const value = await described(path, bytes);
  if (!isJsonObject(value)) throw refused(path, 'is not an object of names and values', 'see the examples folder');
  return value;
}

/** All that a file describes: YAML documents between `---`, or JSON, an object or a list of them. */
export async function readDescriptions(io: Io, path: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const bytes = await readInputFile(io, path);
  const { parseYamlDocuments } = await import('../../platform/yaml.ts');
  const value = await described(path, bytes, parseYamlDocuments);
  const values = Array.isArray(value) ? (value as readonly unknown[]).flat() : [value];
  if (values.length === 0) throw refused(path, 'describes nothing', 'see the examples folder');
  return values.map((one) => {
    if (!isJsonObject(one)) throw refused(path, 'is not an object of names and values', 'see the examples folder');
    return one;
  });
}

async function described(path: string, bytes: Buffer, readYaml?: (text: string) => YamlReading): Promise<unknown> {
  if (/^\s*[[{]/.test(bytes.subarray(0, 64).toString('latin1'))) {
    const reading = parseJson(bytes);
    if (reading.ok) return reading.value;
    if (path.endsWith('.json')) throw refused(path, `${reading.reason} (at byte ${reading.position})`, 'mend the JSON');
  }
  const { parseYaml } = await import('../../platform/yaml.ts');
  const { isUtf8 } = await import('node:buffer');
  if (!isUtf8(bytes)) throw refused(path, 'is not UTF-8 text', 'save it as UTF-8');
  const reading = (readYaml ?? parseYaml)(bytes.toString('utf8'));
  if (!reading.ok) throw new RefusedInput(reading.refusals);
  return reading.value;
}

type Pieces = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** Writes a file whole or not at all; what was there stays when it fails. A device or FIFO is written to, never replaced; `-` is stdout. */
export function writeOutputFile(io: Io, path: string, bytes: Uint8Array): Promise<void> {
  return writeOutputStream(io, path, [bytes]);
}

/** As writeOutputFile, of what comes in pieces: a file gets its name when all has come. What fails to come is thrown as it is. */
export async function writeOutputStream(io: Io, path: string, pieces: Pieces): Promise<void> {
  if (path === '-') {
    for await (const piece of pieces) await io.out(piece);
    return;
  }
  const named = resolve(io.cwd, path);
  try {
    // A link stays one: what it points at is written.
    const target = await realpath(named).catch(() => named);
    const there = await stat(target).catch(() => undefined);
    if (there === undefined || there.isFile()) await replaceFile(target, pieces);
    else await writeInto(target, pieces);
  } catch (error) {
    const { syscall, code } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error;
    throw new CliError(EXIT.internal, 'output', `${JSON.stringify(path)} could not be written (${code ?? 'unknown'})`, {
      mend: 'check the folder, its permissions and the disk',
    });
  }
}

async function replaceFile(target: string, pieces: Pieces): Promise<void> {
  const temporary = `${target}.tmp-${randomBytes(6).toString('hex')}`;
  try {
    const handle = await open(temporary, 'wx', 0o644);
    try {
      for await (const piece of pieces) await handle.writeFile(piece);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** O_NONBLOCK: a FIFO that nobody reads is refused at once. */
async function writeInto(target: string, pieces: Pieces): Promise<void> {
  const handle = await open(target, constants.O_WRONLY | constants.O_NONBLOCK);
  try {
    for await (const piece of pieces) await handle.writeFile(piece);
  } finally {
    await handle.close();
  }
}
