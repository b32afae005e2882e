import { readFile } from 'node:fs/promises';
import type { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import type { SageMakerClient } from '@aws-sdk/client-sagemaker';
import { ProviderError } from '../provider.ts';
import type { SageMakerConfig } from './config.ts';
import { providerErrorOf } from './errors.ts';

/** One connection may take so long to come about, and one answer to come. The verb's signal bounds them all together. */
const CONNECT_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 25_000;
/** Merit repeats by itself, and looks before it does. */
const MAX_ATTEMPTS = 1;

export type SageMakerSdk = typeof import('@aws-sdk/client-sagemaker');
export type LogsSdk = typeof import('@aws-sdk/client-cloudwatch-logs');

/** What is done, for whom it fails, and whether it changes anything. */
export interface Call {
  readonly doing: string;
  readonly changes?: boolean;
  readonly signal: AbortSignal;
}

/**
 * The SDKs, which cost 50 MB and a second: imported by the first call of a pool, not by its being there. Every failure is a ProviderError, unless
 * `silent` takes it.
 */
export class Clients {
  readonly #config: SageMakerConfig;
  #sageMaker: Promise<{ readonly sdk: SageMakerSdk; readonly client: SageMakerClient }> | undefined;
  #logs: Promise<{ readonly sdk: LogsSdk; readonly client: CloudWatchLogsClient }> | undefined;

  constructor(config: SageMakerConfig) {
    this.#config = config;
  }

  /** `silent`: an error that is an answer here; then undefined. */
  async ask<T>(
    call: Call,
    work: (sdk: SageMakerSdk, client: SageMakerClient, options: { readonly abortSignal: AbortSignal }) => Promise<T>,
    silent: (error: unknown) => boolean = () => false,
  ): Promise<T | undefined> {
    return answered(
      call,
      async () => {
        const { sdk, client } = await this.#openSageMaker();
        return work(sdk, client, { abortSignal: call.signal });
      },
      silent,
    );
  }

  async askLogs<T>(
    call: Call,
    work: (sdk: LogsSdk, client: CloudWatchLogsClient, options: { readonly abortSignal: AbortSignal }) => Promise<T>,
    silent: (error: unknown) => boolean = () => false,
  ): Promise<T | undefined> {
    return answered(
      call,
      async () => {
        const { sdk, client } = await this.#openLogs();
        return work(sdk, client, { abortSignal: call.signal });
      },
      silent,
    );
  }

  async close(): Promise<void> {
    const open = await Promise.allSettled([this.#sageMaker, this.#logs]);
    for (const one of open) if (one.status === 'fulfilled') one.value?.client.destroy();
  }

  #openSageMaker() {
    this.#sageMaker ??= import('@aws-sdk/client-sagemaker').then((sdk) => ({
      sdk,
      client: new sdk.SageMakerClient(clientOptions(this.#config, this.#config.endpoint)),
    }));
    return this.#sageMaker;
  }

  #openLogs() {
    this.#logs ??= import('@aws-sdk/client-cloudwatch-logs').then((sdk) => ({
      sdk,
      client: new sdk.CloudWatchLogsClient(clientOptions(this.#config, this.#config.logsEndpoint)),
    }));
    return this.#logs;
  }
}

async function answered<T>(
  { doing, changes = false, signal }: Call,
  work: () => Promise<T>,
  silent: (error: unknown) => boolean,
): Promise<T | undefined> {
  if (signal.aborted) throw new ProviderError('transient', `stopped before ${doing}`);
  try {
    return await work();
  } catch (error) {
    if (silent(error)) return undefined;
    throw providerErrorOf(error, doing, changes);
  }
}

function clientOptions(config: SageMakerConfig, endpoint: string | undefined) {
  const { region, profile, credentialsFile } = config;
  return {
    region,
    maxAttempts: MAX_ATTEMPTS,
    requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS },
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(profile === undefined ? {} : { profile }),
    ...(credentialsFile === undefined ? {} : { credentials: () => credentialsIn(credentialsFile) }),
  };
}

/** What a credential_process prints. Never kept: an hour that has passed makes the SDK ask again at each call. */
export async function credentialsIn(path: string) {
  const told = await readFile(path, 'utf8').then(
    (text) => JSON.parse(text) as Readonly<Record<string, unknown>>,
    () => undefined,
  );
  const { AccessKeyId: id, SecretAccessKey: secret, SessionToken: token } = told ?? {};
  if (typeof id !== 'string' || typeof secret !== 'string')
    throw new ProviderError(
      'auth',
      `${path} does not hold AccessKeyId and SecretAccessKey as a credential_process prints them`,
    );
  return {
    accessKeyId: id,
    secretAccessKey: secret,
    ...(typeof token === 'string' ? { sessionToken: token } : {}),
    expiration: new Date(0),
  };
}
