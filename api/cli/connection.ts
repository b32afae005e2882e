import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CliError, EXIT } from './exit.ts';
import type { Io } from './io.ts';

/** Where the server is and what proves who asks. */
export interface Connection {
  readonly url: URL;
  readonly token: string;
  /** Reads the token's file again: who follows a job for hours has it renewed meanwhile. */
  readonly readTokenAgain: () => Promise<string>;
}

const MAX_SMALL_FILE_BYTES = 16 * 1024;
const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]']);

/** MERIT_HOME, else `.merit` in the clone. */
export function stateDir(io: Io): string {
  const home = io.env.MERIT_HOME;
  if (home !== undefined && home !== '') return resolve(io.cwd, home);
  return fileURLToPath(new URL('../../.merit', import.meta.url));
}

async function smallFile(path: string): Promise<string | undefined> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
  try {
    const buffer = Buffer.alloc(MAX_SMALL_FILE_BYTES);
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } catch {
    return undefined;
  } finally {
    await handle.close();
  }
}

function parseUrl(text: string, from: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new CliError(EXIT.badConfiguration, 'url', `${from} is not an http or https URL`, {
      mend: 'write http://127.0.0.1:PORT',
    });
  }
  if (url.username !== '' || url.password !== '') {
    throw new CliError(EXIT.badConfiguration, 'url', `${from} holds a user name or password`, {
      mend: 'put the token into a file and name it in MERIT_TOKEN_FILE',
    });
  }
  if (url.protocol === 'http:' && !LOOPBACK.has(url.hostname)) {
    throw new CliError(
      EXIT.badConfiguration,
      'url',
      `${from} would send the token over plain http to ${url.hostname}`,
      { mend: 'use https' },
    );
  }
  return url;
}

/** MERIT_URL with MERIT_TOKEN_FILE, else what a running server wrote into its state folder. */
export async function findConnection(io: Io): Promise<Connection> {
  const given = io.env.MERIT_URL;
  if (given !== undefined && given !== '') {
    const tokenFile = io.env.MERIT_TOKEN_FILE ?? join(stateDir(io), 'token');
    return withToken(parseUrl(given, 'MERIT_URL'), resolve(io.cwd, tokenFile));
  }
  const folder = stateDir(io);
  const record = await smallFile(join(folder, 'server.json'));
  if (record === undefined) {
    throw new CliError(EXIT.unreachable, 'no_server', `no server has started from ${folder}`, {
      mend: 'start one with "npm start" or "merit start", or set MERIT_URL and MERIT_TOKEN_FILE',
    });
  }
  const { url, tokenFile } = serverRecord(record, folder);
  const path = isAbsolute(tokenFile) ? tokenFile : join(folder, tokenFile);
  return withToken(parseUrl(url, join(folder, 'server.json')), path);
}

async function withToken(url: URL, path: string): Promise<Connection> {
  const readTokenAgain = () => readToken(path);
  return { url, token: await readTokenAgain(), readTokenAgain };
}

function serverRecord(text: string, folder: string): { readonly url: string; readonly tokenFile: string } {
  try {
    const { url, tokenFile } = JSON.parse(text) as { url?: unknown; tokenFile?: unknown };
    if (typeof url === 'string' && typeof tokenFile === 'string') return { url, tokenFile };
  } catch {
    // Told below.
  }
  throw new CliError(
    EXIT.badConfiguration,
    'server_json',
    `${join(folder, 'server.json')} is not what a server writes`,
    { mend: 'start the server again' },
  );
}

async function readToken(path: string): Promise<string> {
  const token = (await smallFile(path))?.trim();
  if (token === undefined)
    throw new CliError(EXIT.auth, 'no_token', `the token file ${path} cannot be read`, {
      mend: 'name it in MERIT_TOKEN_FILE, or run as the user who started the server',
    });
  if (!/^[A-Za-z0-9._~+/=-]{16,12288}$/.test(token))
    throw new CliError(EXIT.auth, 'no_token', `the token file ${path} holds no token`, {
      mend: 'start the server again, which writes one, or put the token of your identity provider into it',
    });
  return token;
}
