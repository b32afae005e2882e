import { sha256Hex } from '../../core/canonical.ts';
import { type OperatingCode, OperatingError } from '../../core/operating-error.ts';
import { openS3ObjectStore } from '../../platform/object-store/s3.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { tarOf } from '../cloud/tar.ts';
import { untilAborted } from '../cloud/until-aborted.ts';
import { type AttemptSpec, cleanMessage, ProviderError, type ProviderErrorCode, readWorkdir } from '../provider.ts';
import { credentialsIn } from './clients.ts';
import type { SageMakerConfig } from './config.ts';
import { CODE_FILE, START_FILE, startScript } from './start-script.ts';

const WORKDIR_LIMIT_BYTES = 100 * 1024 * 1024;

/** Prefixes in S3, each with one file. */
export interface Staged {
  readonly run: string;
  readonly code: string | undefined;
}

/**
 * What a job starts from, in S3, named by its content: a workdir lies there once whoever uses it, and of two submits of an attempt none changes what
 * the other's job finds. Nothing is deleted here: a rule of the bucket does that (docs/sagemaker.md).
 */
export class Staging {
  readonly #config: SageMakerConfig;
  #store: Promise<ObjectStore> | undefined;

  constructor(config: SageMakerConfig) {
    this.#config = config;
  }

  /** No job comes to be of it: whatever it throws, ProviderError, has effect none. */
  async stage(spec: AttemptSpec, signal: AbortSignal): Promise<Staged> {
    const script = Buffer.from(startScript(spec));
    const code =
      spec.workdir === undefined ? undefined : tarOf(await readWorkdir(spec.workdir, signal, WORKDIR_LIMIT_BYTES));
    try {
      // The store has no signal of its own.
      const [run, sent] = await untilAborted(
        Promise.all([
          this.#put(`runs/${spec.key}`, START_FILE, script),
          code === undefined ? undefined : this.#put('code', CODE_FILE, code),
        ]),
        signal,
        'the job was staged',
      );
      return { run, code: sent };
    } catch (error) {
      throw stagingError(error, this.#config.s3);
    }
  }

  async #put(folder: string, file: string, bytes: Buffer): Promise<string> {
    const store = await this.#open();
    const sha256 = sha256Hex(bytes);
    const there = await store.put(`${folder}/${sha256}/${file}`, bytes, { ifAbsent: true });
    if (there.sha256 !== sha256)
      throw new ProviderError(
        'invalid',
        `${this.#config.s3}/${there.key} was altered: delete it, and look who may write there`,
      );
    return `${this.#config.s3}/${folder}/${sha256}/`;
  }

  #open(): Promise<ObjectStore> {
    if (this.#store === undefined) {
      const [bucket = '', ...prefix] = this.#config.s3.slice('s3://'.length).split('/');
      const { region, profile, s3Endpoint: endpoint, credentialsFile } = this.#config;
      this.#store = openS3ObjectStore({
        bucket,
        prefix: prefix.join('/'),
        region,
        endpoint,
        pathStyle: endpoint !== undefined,
        profile,
        ...(credentialsFile === undefined ? {} : { credentials: () => credentialsIn(credentialsFile) }),
      });
      // One that could not be opened is opened anew.
      this.#store.catch(() => {
        this.#store = undefined;
      });
    }
    return this.#store;
  }
}

/** What the store's words mean to Merit; any other: it is tried again. */
const CODES: Partial<Record<OperatingCode, ProviderErrorCode>> = { auth: 'auth', 'not-found': 'invalid' };

function stagingError(error: unknown, place: string): ProviderError {
  if (error instanceof ProviderError) return error;
  const text = cleanMessage(
    `staging the job below ${place}: ${error instanceof Error ? error.message : String(error)}`,
  );
  if (!(error instanceof OperatingError)) return new ProviderError('transient', text, { cause: error });
  const mend = error.mend === undefined ? '' : `. ${error.mend}`;
  return new ProviderError(CODES[error.code] ?? 'transient', `${text}${mend}`, { cause: error });
}
