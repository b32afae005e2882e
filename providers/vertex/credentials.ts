import { readFile } from 'node:fs/promises';
import type { AuthClient } from 'google-auth-library';
import { cleanMessage, ProviderError } from '../provider.ts';

const SCOPES = ['https://www.googleapis.com/auth/cloud-platform'];

type AuthSdk = typeof import('google-auth-library');

/** What a file of credentials holds, of the two kinds that are taken. */
interface FileOfCredentials {
  readonly type?: unknown;
  readonly client_email?: unknown;
  readonly private_key?: unknown;
  readonly private_key_id?: unknown;
  readonly credential_source?: unknown;
}

/**
 * Who Merit is to Google. The file is read at each call, so that a renewed key is used at once; tokens are kept as long as they are good and the file is
 * the same. None of it reaches a message or a log.
 */
export class Credentials {
  readonly #path: string | undefined;
  readonly #transport: object;
  #kept: { readonly text: string; readonly client: Promise<Pick<AuthClient, 'getRequestHeaders'>> } | undefined;

  /** `fetchImplementation`: in place of the library's own, to reach Google's token service by. */
  constructor(path: string | undefined, fetchImplementation?: typeof fetch) {
    this.#path = path;
    this.#transport = fetchImplementation === undefined ? {} : { transporterOptions: { fetchImplementation } };
  }

  /** Headers for one call, lower-case. Throws ProviderError `auth`, or `transient` where Google's token service cannot be reached. */
  async headers(): Promise<Readonly<Record<string, string>>> {
    try {
      const text = this.#path === undefined ? '' : await readFile(this.#path, 'utf8');
      if (this.#kept?.text !== text) this.#kept = { text, client: this.#open(text) };
      return Object.fromEntries(await (await this.#kept.client).getRequestHeaders());
    } catch (error) {
      this.forget();
      throw credentialsError(error, this.#path);
    }
  }

  /** Google did not take what it was shown: the next call gets a new token. */
  forget(): void {
    this.#kept = undefined;
  }

  async #open(text: string): Promise<Pick<AuthClient, 'getRequestHeaders'>> {
    const sdk = await import('google-auth-library');
    if (this.#path !== undefined) return clientIn(sdk, text, this.#path, this.#transport);
    const auth = new sdk.GoogleAuth({ scopes: SCOPES });
    return auth.getClient();
  }
}

function clientIn(sdk: AuthSdk, text: string, path: string, transport: object): Pick<AuthClient, 'getRequestHeaders'> {
  let told: FileOfCredentials = {};
  try {
    told = JSON.parse(text) as FileOfCredentials;
  } catch {
    // Said below; the parser's own words would show a part of the file.
  }
  const { type, client_email: email, private_key: key, private_key_id: keyId, credential_source: source } = told;
  if (type === 'service_account' && typeof email === 'string' && typeof key === 'string')
    return new sdk.JWT({ ...transport, email, key, scopes: SCOPES, ...(typeof keyId === 'string' ? { keyId } : {}) });
  // Each by its class: the library's own choice by the file's text warns at every call, and would run a command that the file names.
  const config = { ...(told as object), ...transport, scopes: SCOPES } as never;
  if (type === 'external_account' && isRecord(source) && (source.file ?? source.url) !== undefined)
    return new sdk.IdentityPoolClient(config);
  if (type === 'external_account' && isRecord(source) && source.environment_id !== undefined)
    return new sdk.AwsClient(config);
  throw new ProviderError(
    'auth',
    `${path} holds neither the key of a service account (type service_account) nor a configuration of workload identity (type external_account, with a file, a URL or AWS as its source)`,
  );
}

/** Its own message only: what the library throws besides may hold the request, with the key's assertion in it. */
function credentialsError(error: unknown, path: string | undefined): ProviderError {
  if (error instanceof ProviderError) return error;
  const {
    message = '',
    status,
    code,
  } = error as {
    readonly message?: string;
    readonly status?: number;
    readonly code?: string | number;
  };
  const where = path ?? 'the application default credentials';
  const text = cleanMessage(`getting a token from ${where}: ${code === 'ENOENT' ? 'there is no such file' : message}`);
  const isAway = (status !== undefined && (status >= 500 || status === 429)) || AWAY.test(String(code));
  return new ProviderError(
    isAway ? 'transient' : 'auth',
    isAway ? text : `check the credentials of this pool. ${text}`,
  );
}

const AWAY = /^(ECONN|ETIMEDOUT|EAI_AGAIN|ENOTFOUND|ENETUNREACH|EHOSTUNREACH|EPIPE|UND_ERR)/;

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
