import pino from 'pino';
import { OperatingError } from '../core/operating-error.ts';
import type { LogLevel } from './log-level.ts';
import { currentTrace } from './trace.ts';

/** One JSON object a line. `err` in the fields is told by name, code and messages, without stack. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Logger;
}

/** Fields of these names are never written, at any of the three upper levels. */
const SECRET_NAMES = [
  'password',
  'passwords',
  'token',
  'secret',
  'authorization',
  'cookie',
  'privateKey',
  'apiKey',
  'signature_input',
];
const MAX_CAUSES = 5;

/**
 * Logs to stderr, or to `file` (made 0600). Secrets are kept out three ways: by the name of the field, by the Secret class, and
 * by the form of the text (`user:password@` in URLs, `Bearer …`, PEM private keys).
 */
export function createLogger(options: {
  readonly level: LogLevel;
  readonly file?: string;
  readonly base?: Readonly<Record<string, string>>;
  /** For tests: takes each line. */
  readonly write?: (line: string) => void;
}): Logger {
  const settings: pino.LoggerOptions = {
    level: options.level,
    base: options.base ?? null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { err: describeError, error: describeError, cause: describeError },
    redact: { paths: SECRET_NAMES.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: '[secret]' },
    mixin: () => {
      const at = currentTrace();
      return at === undefined ? {} : { trace: at.traceId };
    },
    hooks: { streamWrite: scrub },
  };
  if (options.write !== undefined) return pino(settings, { write: options.write });
  const destination = pino.destination({ dest: options.file ?? 2, sync: true, mkdir: true, mode: 0o600 });
  // A closed stderr (`2>&1 | head`) or a full disk must not end the server.
  destination.on('error', () => {});
  return pino(settings, destination);
}

const SCRUBBED: readonly (readonly [RegExp, string])[] = [
  [/(:\/\/)[^\s/:@"\\]*:[^\s/@"\\]*@/g, '$1[secret]@'],
  [/\b(Bearer|Basic) +[A-Za-z0-9._~+/=-]+/gi, '$1 [secret]'],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)/gs, '[secret]'],
];

/** Takes out of a text what has the form of a secret. */
function scrub(text: string): string {
  let clean = text;
  for (const [form, replacement] of SCRUBBED) clean = clean.replace(form, replacement);
  return clean;
}

/** What is told of an error: no stack, no SQL, no row's content (`detail`, `where` and `query` of Postgres' errors are left out). */
export function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return typeof error === 'string' ? error : typeof error;
  const messages: string[] = [];
  for (let at: unknown = error.cause; at !== undefined && messages.length < MAX_CAUSES; at = (at as Error).cause) {
    messages.push(at instanceof Error ? at.message : String(at));
    if (!(at instanceof Error)) break;
  }
  const code = (error as { code?: unknown }).code;
  return {
    name: error.name,
    ...(typeof code === 'string' ? { code } : {}),
    message: error.message,
    ...(error instanceof OperatingError && error.mend !== undefined ? { mend: error.mend } : {}),
    ...(messages.length === 0 ? {} : { causes: messages }),
  };
}
