import { RefusedInput } from '../core/refusal.ts';
import { type Static, Type } from '../core/schema.ts';
import type { Reader } from './config-file.ts';
import { holdsPassword, type Ruled } from './config-rules.ts';
import { Secret } from './secret.ts';
import {
  AwsSecretSource,
  everyMsOf,
  readSecretMembers,
  readSecretSource,
  SecretFileSource,
  type SecretSource,
  SecretSourceFile,
  secretSource,
} from './secret-source.ts';

const Text = Type.String({ minLength: 1, maxLength: 4096 });

/** A URL with a login: in a file or in Secrets Manager whole, or `at` with the login (`username` and `password` of a JSON) elsewhere. */
export const SecretUrlFile = Type.Union([
  Text,
  SecretFileSource,
  AwsSecretSource,
  Type.Object({ at: Text, login: SecretSourceFile }, { additionalProperties: false }),
]);

/** How a secret is read again. */
export interface SecretReading {
  /** Reads and checks it; throws RefusedInput or OperatingError. */
  readonly read: () => Promise<Secret>;
  readonly everyMs: number;
}

export interface SecretUrl {
  /** undefined: set and refused. */
  readonly secret: Secret | undefined;
  /** undefined: it is written down where it cannot change. */
  readonly reading: SecretReading | undefined;
}

type Rule = (field: string, text: string) => Ruled<string>;

/** undefined: not set. In the file a URL must not hold its password: it says where the password is. */
export async function readSecretUrl(options: {
  /** The variable's name and value, where it is set. */
  readonly variable: readonly [name: string, text: string] | undefined;
  readonly field: string;
  readonly inFile: Static<typeof SecretUrlFile> | undefined;
  /** Of `<field>File`. */
  readonly secretFile: string | undefined;
  readonly resolveFile: (path: string) => string;
  readonly rule: Rule;
  readonly reader: Reader;
}): Promise<SecretUrl | undefined> {
  const { variable, field, inFile, secretFile, rule, reader, resolveFile } = options;
  if (variable !== undefined) return fixed(reader.take(rule(...variable), ''));
  if (secretFile !== undefined && inFile !== undefined)
    reader.refuse('conflict', field, `stands beside ${field}File`, 'keep one of the two');
  if (secretFile !== undefined)
    return open(`${field}File`, wholeUrl({ kind: 'file', path: resolveFile(secretFile), member: undefined }), options);
  if (inFile === undefined) return undefined;
  if (typeof inFile !== 'string') {
    const before = reader.refusals.length;
    const from = (named: Static<typeof SecretSourceFile>) => secretSource(field, named, resolveFile, reader);
    const source = 'at' in inFile ? urlWithLogin(inFile.at, from(inFile.login)) : wholeUrl(from(inFile));
    // What is refused already is not asked for.
    return reader.refusals.length > before ? fixed('') : open(field, source, options);
  }
  if (!holdsPassword(inFile)) return fixed(reader.take(rule(field, inFile), ''));
  reader.refuse(
    'inline_secret',
    field,
    'holds a password',
    `put the URL into a file of mode 600 and name it: ${field}: {file: …}`,
  );
  return fixed('');
}

function fixed(text: string): SecretUrl {
  return { secret: text === '' ? undefined : new Secret(text), reading: undefined };
}

interface UrlSource {
  readonly source: SecretSource;
  /** The URL as it is now, not checked. */
  url(field: string): Promise<string>;
}

function wholeUrl(source: SecretSource): UrlSource {
  return { source, url: async (field) => (await readSecretSource(source, field)).reveal() };
}

function urlWithLogin(at: string, source: SecretSource): UrlSource {
  return {
    source,
    url: async (field) => {
      const { username, password } = await readSecretMembers(source, ['username', 'password'], `${field}.login`);
      // What is no URL, or holds a login already, is refused by the rule.
      if (!URL.canParse(at) || new URL(at).username !== '' || new URL(at).password !== '') return '';
      const url = new URL(at);
      url.username = encodeURIComponent(username);
      url.password = encodeURIComponent(password);
      return url.href;
    },
  };
}

async function open(
  field: string,
  { source, url }: UrlSource,
  { rule, reader }: { readonly rule: Rule; readonly reader: Reader },
): Promise<SecretUrl> {
  const read = async (): Promise<Secret> => {
    const ruled = rule(field, await url(field));
    if (!ruled.ok) throw new RefusedInput([ruled.refusal]);
    return new Secret(ruled.value);
  };
  try {
    return { secret: await read(), reading: { read, everyMs: everyMsOf(source) } };
  } catch (error) {
    if (error instanceof RefusedInput) reader.add(error.refusals);
    else reader.refuse('secret_file', field, (error as Error).message, 'name what can be read');
    return { secret: undefined, reading: undefined };
  }
}
